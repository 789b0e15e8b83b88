/** What the server says of itself: Prometheus metrics, and of every product how its last images were, and whether they still look like those it was learnt from. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { isAnomalous } from "../metrics/image.ts";
import { clopperPearson, quantile } from "../metrics/interval.ts";
import type { LearntProduct } from "../scorer.ts";
import type { NewPrediction } from "./history.ts";

/** Last images of a product that count. */
const RECENT = 200;
/** Fewer say nothing of a drift. */
const ENOUGH = 50;
/** A product whose good images lie above the learnt middle this often, with certainty, should be recalibrated. */
const DRIFTED = 0.6;
const CERTAINTY = 0.998;

interface Recent {
	readonly anomalous: boolean;
	readonly score: number;
}

export interface State {
	readonly pictures: number;
	readonly workers: number;
	readonly version: number | null;
	readonly viewers: number;
	readonly products: readonly LearntProduct[];
}

export class Meters {
	readonly registry = new Registry();
	readonly #recent = new Map<string, Recent[]>();
	readonly #latency: Histogram<"verdict">;
	readonly #predictions: Counter<"task" | "verdict">;
	readonly #refused: Counter<"code">;
	readonly #lost: Counter;

	/** `state`: asked whenever metrics are read. */
	constructor(state: () => State) {
		const registers = [this.registry];
		this.#latency = new Histogram({
			name: "keepsight_predict_seconds",
			help: "From the whole body to the answer",
			labelNames: ["verdict"],
			buckets: [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30],
			registers,
		});
		this.#predictions = new Counter({
			name: "keepsight_predictions_total",
			help: "Pictures that were answered",
			labelNames: ["task", "verdict"],
			registers,
		});
		this.#refused = new Counter({
			name: "keepsight_refused_total",
			help: "Requests that were answered with an error, by its code",
			labelNames: ["code"],
			registers,
		});
		this.#lost = new Counter({
			name: "keepsight_scorers_lost_total",
			help: "Scoring processes that ended by themselves and were replaced",
			registers,
		});
		const gauge = (name: string, help: string, read: () => number) =>
			new Gauge({
				name,
				help,
				registers,
				collect() {
					this.set(read());
				},
			});
		gauge(
			"keepsight_queue_depth",
			"Pictures that wait or are scored",
			() => state().pictures,
		);
		gauge("keepsight_scorers", "Scoring processes", () => state().workers);
		gauge("keepsight_viewers", "Watchers of events", () => state().viewers);
		gauge(
			"keepsight_memory_version",
			"Version of the memory that answers; 0: none",
			() => state().version ?? 0,
		);
		gauge(
			"keepsight_resident_bytes",
			"Memory of this process, without those that score",
			() => process.memoryUsage.rss(),
		);
		const perProduct = (
			name: string,
			help: string,
			read: (product: LearntProduct) => number | null,
		) =>
			new Gauge({
				name,
				help,
				labelNames: ["task"],
				registers,
				collect() {
					this.reset();
					for (const product of state().products) {
						const value = read(product);
						if (value !== null) this.set({ task: product.id }, value);
					}
				},
			});
		perProduct(
			"keepsight_anomaly_rate",
			`Share of the last ${RECENT} pictures of a product that reached its threshold`,
			({ id }) => this.recentOf(id).anomalous,
		);
		perProduct(
			"keepsight_drift",
			`Share of the last ${RECENT} good pictures of a product above the middle score of those it was learnt from; .5: none`,
			(product) => this.driftOf(product).share,
		);
	}

	predicted({
		task,
		verdict,
		score,
		threshold,
		latencyMs,
	}: NewPrediction): void {
		this.#latency.observe({ verdict }, latencyMs / 1000);
		this.#predictions.inc({ task: task ?? "", verdict });
		if (task === null || score === null || threshold === null) return;
		const recent = this.#recent.get(task) ?? [];
		recent.push({ anomalous: isAnomalous(score, threshold), score });
		if (recent.length > RECENT) recent.shift();
		this.#recent.set(task, recent);
	}

	refused(code: string): void {
		this.#refused.inc({ code });
	}

	scorerLost(): void {
		this.#lost.inc();
	}

	/** Another version answers: what came before says nothing of it. */
	restart(): void {
		this.#recent.clear();
	}

	recentOf(task: string): { images: number; anomalous: number | null } {
		const recent = this.#recent.get(task) ?? [];
		const anomalous = recent.filter((one) => one.anomalous).length;
		return {
			images: recent.length,
			anomalous: recent.length > 0 ? anomalous / recent.length : null,
		};
	}

	/** How often a good image scores above the middle of those that were learnt: a sign test, which no single image decides. */
	driftOf({ id, goodScores }: Pick<LearntProduct, "id" | "goodScores">): {
		share: number | null;
		recalibrate: boolean;
	} {
		const good = (this.#recent.get(id) ?? []).filter((one) => !one.anomalous);
		if (good.length < ENOUGH || goodScores.length === 0)
			return { share: null, recalibrate: false };
		const middle = quantile(Float64Array.from(goodScores), 0.5);
		const above = good.filter(({ score }) => score > middle).length;
		const [low] = clopperPearson(above, good.length, CERTAINTY);
		return { share: above / good.length, recalibrate: low > DRIFTED };
	}
}
