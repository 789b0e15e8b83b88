/** The report's pictures: read from visualizations/, taken apart into panels, carried within the page as WebP. */
import { existsSync } from "node:fs";
import { readImage, webpUri } from "../data/image.ts";
import { categoriesOf } from "../data/task.ts";
import type { Run } from "../run.ts";
import { type Html, html, nameHtml } from "./html.ts";
import {
	apart,
	colourRange,
	type Panel,
	type PictureEntry,
	picturePath,
	readPictures,
} from "../pictures/pictures.ts";
import type { CategoryRows } from "./runCharts.ts";
import { roles } from "../pictures/shown.ts";

export interface GalleryPicture extends PictureEntry {
	/** One for each of `panels`. */
	readonly sources: readonly string[]; // data: URIs
	/** Its size is that of a panel. */
	readonly size: readonly [height: number, width: number];
	/** The image scored otherwise when it was evaluated last. */
	readonly outdated: boolean;
}

export interface Gallery {
	readonly categories: readonly {
		readonly id: string;
		readonly pictures: readonly GalleryPicture[];
	}[];
	/** Pictures of the index that are not on the disk. */
	readonly missing: number;
}

/** The pictures of these categories, in their order. */
export async function readGallery(
	run: Run,
	categories: readonly CategoryRows[],
): Promise<Gallery> {
	const index = readPictures(run);
	let missing = 0;
	const found = [];
	for (const { id, rows } of categories) {
		const scores = new Map(rows.map(({ path, score }) => [path, score]));
		const pictures: GalleryPicture[] = [];
		for (const entry of index.find((c) => c.id === id)?.pictures ?? []) {
			const path = picturePath(run, entry);
			if (!existsSync(path)) {
				missing++;
				continue;
			}
			const parts = apart(await readImage(path), entry.panels.length);
			const [height = 0, width = 0] = parts[0]?.shape ?? [];
			pictures.push({
				...entry,
				sources: await Promise.all(parts.map(webpUri)),
				size: [height, width],
				outdated: scores.get(entry.path) !== entry.score,
			});
		}
		if (pictures.length > 0) found.push({ id, pictures });
	}
	return { categories: found, missing };
}

const titles: Readonly<Record<Panel, string>> = {
	picture: "picture",
	map: "anomaly map",
	overlay: "overlay",
	truth: "ground truth",
};

export function gallerySection({ categories, missing }: Gallery): Html {
	const gone =
		missing > 0
			? html`<p class="warning">${missing} of the pictures in visualizations/pictures.json are not in the folder any more.</p>`
			: null;
	if (categories.length === 0)
		return html`${gone}<p>There are no pictures yet. <code>keepsight eval --mem_dir DIR</code> draws them while it scores the test images;
it needs the data (<code>--data_root</code>, if they have moved). Then run <code>keepsight report --mem_dir DIR</code> again.</p>`;
	const all = categories.flatMap(({ pictures }) => pictures);
	const present = roles.filter((role) => all.some((p) => p.role === role));
	const maps = all.some(({ panels }) => panels.includes("map"));
	return html`${gone}
<p>Of every category the images that tell most: what was missed or came closest to it, false alarms or the good parts that came closest, what lies at the
threshold, and what was clearest. They were chosen by their scores alone.</p>
${
	maps
		? html`<p>Map and overlay: <span class="soft">0</span> <span class="scale" role="img" aria-label="from black over red to pale yellow"></span> <span class="soft">${colourRange} times the threshold and
above</span>, the same in every picture. The white line is where the map reaches the threshold; in the ground truth it is the outline of the defect.</p>`
		: null
}
<div class="controls" data-script hidden>
<label>category <select id="by-category"><option value="">all</option>${categories.map(({ id }, k) => html`<option value="${k}">${id}</option>`)}</select></label>
<label>role <select id="by-role"><option value="">all</option>${present.map((role) => html`<option>${role}</option>`)}</select></label>
<output id="shown" class="soft"></output>
</div>
${categories.map(
	({ id, pictures }, k) => html`
<section data-gallery="${k}"><h3>${nameHtml(id)}</h3><div class="pictures">${pictures.map((picture) => figure(id, picture))}
</div></section>`,
)}`;
}

function figure(id: string, picture: GalleryPicture): Html {
	const { role, panels, sources, path, size } = picture;
	const [height, width] = size;
	return html`
<figure data-role="${role}"><div class="panels">${panels.map(
		(panel, k) =>
			html`<span><img src="${sources[k] ?? ""}" width="${width}" height="${height}" alt="${titles[panel]} of ${path}" decoding="async"><small>${titles[panel]}</small></span>`,
	)}</div><figcaption><p>${caption(id, picture)}</p><p class="soft">${nameHtml(path)}</p></figcaption></figure>`;
}

function caption(id: string, picture: GalleryPicture): Html {
	const { role, defect, score, threshold, routed, outdated } = picture;
	const tone =
		role === "missed" || role === "false alarm"
			? "bad"
			: role === "best"
				? "good"
				: "open";
	const own = routed !== null && categoriesOf(routed).includes(id);
	return html`<span class="role ${tone}">${role}</span>${defect === null ? "good" : nameHtml(defect)}; score ${scoreText(score)}${
		threshold === null ? "" : `, threshold ${scoreText(threshold)}`
	}${
		own
			? null
			: html`; <span class="warning">${routed === null ? "taken for no known product" : html`taken for ${nameHtml(routed)}`}</span>`
	}${outdated ? html`; <span class="warning">from an earlier evaluation</span>` : null}`;
}

const scoreText = (score: number): string =>
	score >= 100
		? score.toPrecision(3).replace(/e\+?(\d+)/, " · 10^$1")
		: score.toFixed(2);
