/**
 * The pages whose commands run.test.ts does, one after the other, in a folder of their own: what lies in it beforehand, so that the
 * names on the page are there. A page that is new gets its entry here, or says above its blocks why they are not run.
 */
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { encodePng } from "../../src/data/image.ts";
import { uint8 } from "../../src/engine/tensor.ts";

/** What there is to copy from. */
export interface Stock {
	/** Two drawn categories in MVTec's layout: mvtec/bottle, mvtec/nut. */
	readonly data: string;
	/** A run folder that has learnt them, with its images where `data` is. */
	readonly run: string;
}

interface Page {
	/** Also in `npm test`; the others in `npm run soak` only. */
	readonly short: boolean;
	/** Text of the page -> what is run instead: an address, a number of steps, an end to what would not end. */
	readonly instead?: Readonly<Record<string, string>>;
	prepare(work: string, stock: Stock): Promise<void> | void;
}

const good = ({ data }: Stock, category = "bottle") =>
	join(data, "mvtec", category, "train/good");
const copied = (from: string, to: string) => {
	mkdirSync(dirname(to), { recursive: true });
	cpSync(from, to, { recursive: true });
};

/** All of the picture. */
const whole = (side: number): Promise<Uint8Array> =>
	encodePng(uint8([side, side, 3], new Uint8Array(side * side * 3).fill(255)));

export const executed: Readonly<Record<string, Page>> = {
	"docs/backbones.md": {
		short: true,
		prepare: (work) =>
			copied(resolve("models/keepsight-tiny"), join(work, "DIR")),
	},
	"docs/keepsight-100.md": {
		short: true,
		prepare: (work, { run }) =>
			copied(join(run, "scores"), join(work, "scores")),
	},
	"docs/learn.md": {
		short: true,
		async prepare(work, stock) {
			copied(good(stock), join(work, "photos/cap"));
			copied(good(stock, "nut"), join(work, "photos/nut"));
			copied(
				join(stock.data, "mvtec/bottle/test/good"),
				join(work, "photos/cap-monday"),
			);
			writeFileSync(join(work, "nut-roi.png"), await whole(32));
		},
	},
	"docs/report.md": {
		short: true,
		prepare: (work, { run }) => copied(run, join(work, "DIR")),
	},
	"docs/export.md": {
		short: false,
		prepare(work, stock) {
			copied(stock.run, join(work, "DIR"));
			copied(stock.run, join(work, "out/line/Anomaly"));
			copied(good(stock), join(work, "good"));
		},
	},
	"docs/predict.md": {
		short: false,
		instead: {
			"keepsight predict --mem_dir DIR --watch /camera --json":
				"(timeout -s INT 10 keepsight predict --mem_dir DIR --watch camera --json || test $? -eq 124)",
		},
		prepare(work, stock) {
			copied(stock.run, join(work, "DIR"));
			copied(stock.run, join(work, "out/line/Anomaly"));
			writeFileSync(join(work, "last"), "");
			for (const folder of ["new", "yesterday/late", "camera"])
				copied(good(stock), join(work, folder));
		},
	},
	"docs/qualify.md": {
		short: false,
		prepare(work, stock) {
			copied(good(stock), join(work, "photos"));
		},
	},
};

/** Files of a run folder that JSON of the documentation may show: it has the keys of a real one. */
export const formats: readonly string[] = [
	"run.json",
	"metrics.json",
	"memory/manifest.json",
	"visualizations/pictures.json",
	"visualizations/curves.json",
];
