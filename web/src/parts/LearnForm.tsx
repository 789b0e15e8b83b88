/** Pictures of good parts become a job: chosen, sent, started. For a new product, for more pictures of one, and for recalibration. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { JobReply } from "../../../src/server/api.ts";
import { useAction } from "../action.ts";
import { byName, isPicture } from "../files.ts";
import { formatBytes } from "../format.ts";
import { send } from "../http.ts";
import { maskOf, pngOf, type Shape, type Sheet, sheetOf } from "../shapes.ts";
import { text } from "../text.ts";
import { put, uploadImages } from "../upload.ts";
import { FileDrop } from "./FileDrop.tsx";
import { Notice } from "./Notice.tsx";
import { RoiEditor } from "./RoiEditor.tsx";

const least = 10;

type Kind = "learn" | "add" | "recalibrate";

const starts: Readonly<Record<Kind, string>> = {
	learn: text.add.start,
	add: text.add.startAdd,
	recalibrate: text.add.startRecalibrate,
};

export function LearnForm({
	kind,
	name,
	onStarted,
}: {
	readonly kind: Kind;
	/** null: there is none yet, so nothing can start. */
	readonly name: string | null;
	readonly onStarted: (job: JobReply) => void;
}) {
	const [files, setFiles] = useState<readonly File[]>([]);
	const [skipped, setSkipped] = useState(0);
	const [shapes, setShapes] = useState<readonly Shape[]>([]);
	const [review, setReview] = useState(true);
	const [sent, setSent] = useState<number | null>(null);
	const { busy, problem, run } = useAction();
	const sheet = useSheet(kind === "learn" ? files[0] : undefined);
	const sending = useRef<AbortController>(undefined);
	useEffect(() => () => sending.current?.abort(), []);

	const choose = (all: readonly File[]) => {
		const pictures = byName(all.filter(isPicture));
		setFiles(pictures);
		setSkipped(all.length - pictures.length);
		setShapes([]);
	};
	const start = () =>
		run(async () => {
			const abort = new AbortController();
			sending.current = abort;
			setSent(0);
			const body = { name, kind, review: kind === "learn" && review };
			const { id } = await send<JobReply>("POST", "/v1/tasks", body);
			try {
				if (shapes.length > 0 && sheet)
					await put(
						`/v1/jobs/${id}/roi`,
						await pngOf(maskOf(shapes, sheet)),
						abort.signal,
					);
				await uploadImages(id, files, setSent, abort.signal);
				onStarted(await send<JobReply>("POST", `/v1/jobs/${id}/start`));
			} catch (error) {
				// what was opened and never started is of no use to anybody
				await send("DELETE", `/v1/jobs/${id}`).catch(() => {});
				if (!abort.signal.aborted) throw error;
			} finally {
				setSent(null);
			}
		});

	if (files.length === 0)
		return (
			<>
				<FileDrop
					words={text.add.drop}
					choose={text.add.files}
					folder={text.add.folder}
					multiple
					onFiles={choose}
				/>
				{skipped > 0 && <p class="soft">{text.add.skipped(skipped)}</p>}
			</>
		);
	const size = files.reduce((sum, file) => sum + file.size, 0);
	return (
		<>
			<div class="row">
				<p>
					<strong>{text.add.chosen(files.length, formatBytes(size))}</strong>
					{skipped > 0 && (
						<span class="soft">, {text.add.skipped(skipped)}</span>
					)}
				</p>
				<button type="button" disabled={busy} onClick={() => choose([])}>
					{text.add.clear}
				</button>
			</div>
			{files.length < least && <p>{text.add.few(files.length)}</p>}
			{name === null && <p>{text.add.nameless}</p>}
			{kind === "learn" && (
				<details>
					<summary>{text.add.roi}</summary>
					<p class="soft">{text.add.roiHelp}</p>
					{sheet === null ? (
						<p>{text.add.noRoi}</p>
					) : (
						sheet && (
							<RoiEditor sheet={sheet} shapes={shapes} onShapes={setShapes} />
						)
					)}
				</details>
			)}
			{kind === "learn" && (
				<label class="check">
					<input
						type="checkbox"
						checked={review}
						onChange={(event) => setReview(event.currentTarget.checked)}
					/>
					{text.add.review}
				</label>
			)}
			{sent !== null && (
				<>
					<progress
						aria-label={text.add.uploadLabel}
						max={files.length}
						value={sent}
					/>
					<p class="soft">{text.add.uploading(sent, files.length)}</p>
				</>
			)}
			<Notice problem={problem} />
			<div class="buttons">
				<button
					type="button"
					class="main"
					disabled={busy || name === null || files.length < least}
					onClick={start}
				>
					{starts[kind]}
				</button>
				{sent !== null && (
					<button type="button" onClick={() => sending.current?.abort()}>
						{text.cancel}
					</button>
				)}
			</div>
		</>
	);
}

/** A picture to draw on; undefined: not yet, null: this browser cannot show it. */
function useSheet(file: File | undefined): Sheet | null | undefined {
	const [sheet, setSheet] = useState<Sheet | null>();
	useEffect(() => {
		let wanted = true;
		setSheet(undefined);
		if (file)
			sheetOf(file).then(
				(made) => wanted && setSheet(made),
				() => wanted && setSheet(null),
			);
		return () => {
			wanted = false;
		};
	}, [file]);
	return sheet;
}
