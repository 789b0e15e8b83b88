/** One product: what is known of it, its threshold, how it fares, and what can be changed. */
import type { ProductReply } from "../../../src/server/api.ts";
import { useFeed } from "../feed.ts";
import {
	formatBytes,
	formatCount,
	formatScore,
	formatShare,
} from "../format.ts";
import { taskPath } from "../http.ts";
import { useLoaded } from "../loaded.ts";
import { Examples } from "../parts/Examples.tsx";
import { Forget } from "../parts/Forget.tsx";
import { Head } from "../parts/Head.tsx";
import { LearnForm } from "../parts/LearnForm.tsx";
import { Notice } from "../parts/Notice.tsx";
import { ThresholdPanel } from "../parts/ThresholdPanel.tsx";
import { go } from "../route.ts";
import { useReplica } from "../tasks.ts";
import { text } from "../text.ts";

export function ProductPage({ name }: { readonly name: string }) {
	const { value, problem, reload } = useLoaded<ProductReply>(taskPath(name));
	useFeed("version", reload);
	const replica = useReplica();
	return (
		<>
			<Head title={name} />
			<Notice problem={problem} retry={reload} />
			{!value && !problem && <p class="soft">{text.loading}</p>}
			{value && (
				<>
					<Figures product={value} />
					<div class="columns">
						<ThresholdPanel product={value} onChanged={reload} />
						{!replica && (
							<div class="stack">
								<Recalibrate product={value} />
								<section class="card" aria-labelledby="teach">
									<h2 id="teach">{text.product.more}</h2>
									<p class="soft">{text.product.moreHelp}</p>
									<LearnForm
										kind="add"
										name={name}
										onStarted={({ id }) => go("jobs", id)}
									/>
								</section>
							</div>
						)}
					</div>
					<Examples task={name} />
					{!replica && <Forget task={name} />}
				</>
			)}
		</>
	);
}

function Figures({ product }: { readonly product: ProductReply }) {
	const { facts } = text.product;
	const { recent, drift } = product;
	return (
		<dl class="figures">
			<div>
				<dt>{facts.images}</dt>
				<dd>{formatCount(product.images)}</dd>
			</div>
			<div>
				<dt>{facts.bytes}</dt>
				<dd>
					{formatBytes(product.bytes)}
					<small>
						{product.memories
							.map(({ name, bytes }) => `${name} ${formatBytes(bytes)}`)
							.join(", ")}
					</small>
				</dd>
			</div>
			<div>
				<dt>{facts.threshold}</dt>
				<dd>
					{formatScore(product.threshold)}
					<small>
						{product.thresholdSet ? text.product.set : text.product.calibrated}
					</small>
				</dd>
			</div>
			<div>
				<dt>{facts.recent}</dt>
				<dd>
					{recent.anomalous === null
						? text.none
						: formatShare(recent.anomalous)}
					<small>
						{recent.anomalous === null
							? text.products.notSeen
							: text.product.ofLast(recent.images)}
					</small>
				</dd>
			</div>
			<div>
				<dt>{facts.drift}</dt>
				<dd>
					{drift.share === null ? text.none : formatShare(drift.share)}
					<small>
						{drift.share === null
							? text.product.driftNote.few
							: drift.recalibrate
								? text.product.driftNote.some
								: text.product.driftNote.none}
					</small>
				</dd>
			</div>
		</dl>
	);
}

/** Recommended where good parts have come to look different, possible always. */
function Recalibrate({ product }: { readonly product: ProductReply }) {
	const { share, recalibrate } = product.drift;
	return (
		<section class="card" aria-labelledby="recalibrate">
			<h2 id="recalibrate">{text.product.recalibrate}</h2>
			{recalibrate && share !== null ? (
				<div class="notice" role="note">
					<strong>{text.product.driftTitle}</strong>
					<p>{text.product.driftHelp(formatShare(share))}</p>
				</div>
			) : (
				<p class="soft">{text.product.recalibrateHelp}</p>
			)}
			<LearnForm
				kind="recalibrate"
				name={product.id}
				onStarted={({ id }) => go("jobs", id)}
			/>
		</section>
	);
}
