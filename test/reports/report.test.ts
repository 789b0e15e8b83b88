/** The report of a made-up run, its numbers against the scores, and the page itself in Chromium; screenshots go to .cache/artefacts/report/. */
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Command } from "commander";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { addReport } from "../../src/commands/report.ts";
import { KeepsightError } from "../../src/errors.ts";
import { writeCurves } from "../../src/pictures/curves.ts";
import { readReportData, renderReport } from "../../src/reports/report.ts";
import { openRun, type ScoreRow } from "../../src/run.ts";
import {
	addPictures,
	hostile,
	hostileDefect,
	madeUpRun,
	rowsOf,
	start,
	tasks,
} from "./made-up-run.ts";

let base: string;
/** Without and with pictures and curves. */
let plain: string;
let full: string;
beforeAll(async () => {
	base = mkdtempSync(join(tmpdir(), "keepsight-report-"));
	plain = join(base, "plain", "Anomaly");
	madeUpRun(plain).close();
	full = join(base, "full", "Anomaly");
	const run = madeUpRun(full);
	await addPictures(run);
	run.close();
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** `keepsight report`, within this process. */
async function report(...args: string[]): Promise<string> {
	const printed = vi.spyOn(console, "log").mockImplementation(() => {});
	const program = new Command().exitOverride();
	addReport(program);
	try {
		await program.parseAsync(["report", ...args], { from: "user" });
		return printed.mock.calls.flat().join("\n");
	} finally {
		printed.mockRestore();
	}
}
const htmlOf = async (dir: string) => {
	await report("--mem-dir", dir);
	return readFileSync(join(dir, "report.html"), "utf8");
};
const failure = (work: Promise<unknown>) =>
	work.then(
		() => "none",
		(error: unknown) =>
			error instanceof KeepsightError ? error.code : String(error),
	);

describe("keepsight report", () => {
	test("writes the page and the charts, and says so", async () => {
		const written = JSON.parse(await report("--mem-dir", full, "--json"));
		expect(written).toMatchObject({
			report: join(full, "report.html"),
			categories: 4,
			charts: 11,
		});
		expect(written.pictures).toBeGreaterThan(15);
		expect(written.bytes).toBeLessThan(5e6);
		const svg = join(full, "visualizations", "charts", "roc.svg");
		expect(readFileSync(svg, "utf8")).toMatch(/^<svg /);
		expect(await report("--mem-dir", full)).toMatch(
			/report\.html: 4 categories, \d+ pictures, 11 charts, \d\.\d MB/,
		);
	});
	test("the same folder gives the same bytes", async () => {
		expect((await htmlOf(full)) === (await htmlOf(full))).toBe(true);
	});
	test("gives the lock back, also after a failure", async () => {
		await report("--mem-dir", plain);
		openRun(plain, "update").close();
	});
	test("what is missing is said", async () => {
		expect(await failure(report())).toBe("USAGE");
		expect(await failure(report("--mem-dir", join(base, "none")))).toBe(
			"RUN_MISSING",
		);
		const bare = join(base, "bare", "Anomaly");
		const run = openRun(bare, "new", start);
		run.close();
		expect(await failure(report("--mem-dir", bare))).toBe("NOTHING_LEARNT");
		const learnt = openRun(bare, "update");
		learnt.setTask(tasks[0].id, "learnt", 1);
		expect(await failure(readReportData(learnt))).toBe("NOT_EVALUATED");
		learnt.writeMetrics({ format: 1, tasks: [] }, "");
		expect(await failure(readReportData(learnt))).toBe("DAMAGED");
		learnt.close();
	});
});

/** Without the whole page in the message. */
const found = (page: string, text: string | RegExp) =>
	typeof text === "string" ? page.includes(text) : text.test(page);
const contains = (page: string, text: string | RegExp) =>
	expect(found(page, text), String(text)).toBe(true);
const lacks = (page: string, text: string | RegExp) =>
	expect(found(page, text), String(text)).toBe(false);

describe("the page as text", () => {
	test("names from outside stay text", async () => {
		const page = await htmlOf(full);
		lacks(page, "<img src=x");
		lacks(page, "<script>document");
		expect(page.match(/<script\b/g)).toHaveLength(2);
		lacks(page, /\sstyle=/);
		lacks(page, /\son\w+="/);
		lacks(page, /(?:src|href)="(?!data:|#)/);
		const words = page
			.slice(0, page.indexOf('"use strict"'))
			.replaceAll(/data:[^"]*/g, "");
		lacks(words, /NaN|undefined|Infinity/);
	});
	test("every metric of every category, null with its reason", async () => {
		const run = openRun(full, "read");
		const { html } = renderReport(await readReportData(run));
		const { categories } = run.readMetrics() as {
			categories: Record<string, Record<string, number | null>>;
		};
		for (const values of Object.values(categories))
			for (const value of Object.values(values))
				if (value !== null)
					contains(
						html,
						`<td data-value="${value}">${(100 * value).toFixed(1)}</td>`,
					);
		contains(
			html,
			'<span class="none" title="no mask for &quot;000.png&quot;">–</span>',
		);
		contains(html, 'title="no structural anomalies"');
		contains(html, 'title="not defined for this layout"');
	});
	test("without pictures it says how they are made; without maps, what is missing", async () => {
		const run = openRun(plain, "update");
		writeCurves(run, { pro: {} }); // as an evaluation without maps does
		run.close();
		const page = await htmlOf(plain);
		contains(page, "There are no pictures yet.");
		contains(page, "PRO curves need anomaly maps");
		lacks(page, "<figure data-role");
		lacks(page, 'id="embeddings"');
	});
	test("pictures of an earlier evaluation and missing ones are named", async () => {
		const run = openRun(full, "read");
		const data = await readReportData(run);
		const [first, ...others] = data.gallery.categories;
		const { html } = renderReport({
			...data,
			gallery: {
				missing: 2,
				categories: [
					{
						id: first?.id as string,
						pictures: (first?.pictures ?? []).map((p) => ({
							...p,
							outdated: true,
						})),
					},
					...others,
				],
			},
		});
		contains(html, "2 of the pictures in");
		contains(html, "from an earlier evaluation");
		expect(data.gallery.missing).toBe(0);
		expect(
			data.gallery.categories
				.flatMap((c) => c.pictures)
				.some((p) => p.outdated),
		).toBe(false);
	});
});

const executablePath = "/usr/bin/chromium";
const noBrowser = !existsSync(executablePath);

describe.skipIf(noBrowser)(
	`in Chromium${noBrowser ? ` (skipped: there is no ${executablePath}; apt-get install chromium)` : ""}`,
	() => {
		let browser: Browser;
		const shots = join(".cache", "artefacts", "report");
		beforeAll(async () => {
			mkdirSync(shots, { recursive: true });
			await report("--mem-dir", full);
			await report("--mem-dir", plain);
			browser = await chromium.launch({
				executablePath,
				args: ["--no-sandbox", "--disable-background-networking"],
			});
		});
		afterAll(() => browser?.close());

		/** What the page said and asked for, beside itself. */
		const complaints: string[] = [];
		async function open(
			dir: string,
			width = 1280,
			options: {
				colorScheme?: "light" | "dark";
				javaScriptEnabled?: boolean;
			} = {},
		): Promise<Page> {
			complaints.length = 0;
			const context = await browser.newContext({
				viewport: { width, height: 900 },
				...options,
			});
			const page = await context.newPage();
			const address = pathToFileURL(join(dir, "report.html")).href;
			page.on("console", (message) => complaints.push(message.text()));
			page.on("pageerror", (error) => complaints.push(error.message));
			page.on("request", (request) => {
				if (request.url() !== address && !request.url().startsWith("data:"))
					complaints.push(request.url());
			});
			await page.goto(address);
			return page;
		}
		const cells = (page: Page, selector: string) =>
			page.locator(selector).allTextContents();

		test.each(
			[1280, 400].flatMap((width) =>
				(["light", "dark"] as const).map((scheme) => [width, scheme] as const),
			),
		)(
			"%i px, %s: no error, no request, nothing too wide",
			async (width, colorScheme) => {
				const page = await open(full, width, { colorScheme });
				await page.evaluate(
					`Promise.all([...document.images].map((image) => image.decode()))`,
				);
				const [wide, visible, broken, title] = (await page.evaluate(`[
				document.documentElement.scrollWidth, document.documentElement.clientWidth,
				[...document.images].filter((i) => !(i.complete && i.naturalWidth > 0)).length, document.title]`)) as [
					number,
					number,
					number,
					string,
				];
				expect(wide).toBeLessThanOrEqual(visible);
				expect(broken).toBe(0);
				expect(title).toBe(`${start.config.name as string} – Keepsight report`);
				await page.evaluate("window.scrollTo(0, 0)");
				await page.screenshot({
					path: join(shots, `${width}-${colorScheme}.png`),
					fullPage: true,
				});
				expect(complaints).toEqual([]);
				await page.context().close();
			},
			120_000,
		);

		test("ink and ground differ enough, by day and by night", async () => {
			for (const colorScheme of ["light", "dark"] as const) {
				const page = await open(plain, 1280, { colorScheme });
				const [ground, ...inks] = (await page.evaluate(`[
					getComputedStyle(document.querySelector(".charts figure")).backgroundColor,
					...[...document.querySelectorAll("svg.chart text")].filter((t) => !/^\\d+\\.\\d$/.test(t.textContent)).map((t) => getComputedStyle(t).fill)]`)) as string[];
				expect(inks.length).toBeGreaterThan(50);
				for (const ink of new Set(inks))
					expect(
						contrast(ink, ground as string),
						`${ink} on ${ground}`,
					).toBeGreaterThan(4.5);
				await page.context().close();
			}
		});

		test("a table is sorted by a click, null last", async () => {
			const page = await open(full);
			const names = () => cells(page, "#metrics tbody th");
			const before = await names();
			expect(before).toEqual(
				tasks.flatMap(({ categories }) => categories.map(([id]) => id)),
			);
			const column = (await cells(page, "#metrics thead th")).indexOf(
				"pixel AUROC",
			);
			const head = page.locator("#metrics thead th").nth(column);
			const values = async () =>
				(await cells(page, `#metrics tbody td:nth-child(${column + 1})`)).map(
					(text) => (text === "–" ? null : Number(text)),
				);
			await head.getByRole("button").click();
			expect(await head.getAttribute("aria-sort")).toBe("descending");
			const down = await values();
			expect(down.at(-1)).toBeNull();
			expect(down.slice(0, -1)).toEqual(
				down.slice(0, -1).toSorted((a, b) => Number(b) - Number(a)),
			);
			await head.getByRole("button").click();
			const up = await values();
			expect(up.at(-1)).toBeNull();
			expect(up.slice(0, -1)).toEqual(
				up.slice(0, -1).toSorted((a, b) => Number(a) - Number(b)),
			);
			await page.getByRole("button", { name: "category" }).first().click();
			expect(await names()).toEqual(
				before.toSorted(new Intl.Collator("en", { numeric: true }).compare),
			);
			await page.context().close();
		});

		/** The rows of the threshold table, counted from the scores anew. */
		const counted = (t: number) => {
			const text = (part: number, of: number) =>
				`${((100 * part) / of).toFixed(1)} % (${part} of ${of})`;
			const line = (rows: readonly ScoreRow[]) => {
				let right = 0;
				let alarms = 0;
				let found = 0;
				let good = 0;
				for (const { label, score } of rows) {
					if (label === 0) good++;
					if (score >= t === (label === 1)) right++;
					if (score >= t && label === 0) alarms++;
					if (score >= t && label === 1) found++;
				}
				return [
					text(right, rows.length),
					text(alarms, good),
					text(found, rows.length - good),
				];
			};
			const all = tasks.flatMap(({ categories }) =>
				categories.map(([id]) => rowsOf(id, tasks.length - 1)),
			);
			return [...all.map(line), line(all.flat())];
		};
		const shown = async (page: Page) => {
			const rows = [
				...(await page.locator("#at-threshold tbody tr").all()),
				page.locator("#at-threshold tfoot tr"),
			];
			return Promise.all(
				rows.map(async (row) =>
					(await row.locator("td").allTextContents()).slice(2),
				),
			);
		};

		test("the threshold slider counts again", async () => {
			const page = await open(full);
			expect(await shown(page)).toEqual(counted(2));
			const slider = page.locator("#slider");
			for (const t of [0, 0.7, 3.25, 6]) {
				await slider.fill(String(t));
				expect(await shown(page), `threshold ${t}`).toEqual(counted(t));
				expect(await page.locator("#one-in").inputValue()).toBe(
					String(Number((10 ** t).toPrecision(3))),
				);
			}
			await page.locator("#one-in").fill("1000");
			expect(await shown(page)).toEqual(counted(Math.log10(1000)));
			expect(Number(await slider.inputValue())).toBeCloseTo(3, 9);
			await page.locator("#one-in").fill("");
			expect(await shown(page)).toEqual(counted(3));
			await page.getByRole("button", { name: "stored threshold" }).click();
			expect(await shown(page)).toEqual(counted(2));
			expect(complaints).toEqual([]);
			await page.context().close();
		});

		test("the gallery is filtered by category and role", async () => {
			const page = await open(full);
			const visible = () => page.locator("figure[data-role]:visible").count();
			const all = await visible();
			expect(await page.locator("#shown").textContent()).toBe(
				`${all} pictures`,
			);
			await page.locator("#by-role").selectOption("best");
			const best = await visible();
			expect(best).toBe(await page.locator('figure[data-role="best"]').count());
			expect(best).toBeLessThan(all);
			await page.locator("#by-category").selectOption({ label: hostile });
			expect(await page.locator("section[data-gallery]:visible").count()).toBe(
				1,
			);
			const hidden = await visible();
			expect(hidden).toBeGreaterThan(0);
			expect(hidden).toBeLessThan(best);
			await page.locator("#by-role").selectOption("");
			const captions = (
				await page
					.locator("figure[data-role]:visible figcaption")
					.allTextContents()
			).join("\n");
			expect(captions).toContain(hostileDefect);
			await page.context().close();
		});

		test("readable without script: numbers, charts and pictures, no dead controls", async () => {
			const page = await open(full, 1280, { javaScriptEnabled: false });
			expect(
				await page
					.locator("button:visible, input:visible, select:visible")
					.count(),
			).toBe(0);
			expect(
				await page.locator("figure[data-role]:visible").count(),
			).toBeGreaterThan(15);
			expect(await page.locator("svg.chart:visible").count()).toBe(11);
			expect(await shown(page)).toEqual(counted(2));
			await page.context().close();
		});

		test("prints light, without controls", async () => {
			const page = await open(plain, 1280, { colorScheme: "dark" });
			await page.emulateMedia({ media: "print" });
			expect(await page.locator("#slider:visible, nav:visible").count()).toBe(
				0,
			);
			expect(
				await page.evaluate("getComputedStyle(document.body).backgroundColor"),
			).toBe("rgb(255, 255, 255)");
			await page.context().close();
		});
	},
);

/** WCAG 2's ratio of two colours as "rgb(1, 2, 3)". */
function contrast(a: string, b: string): number {
	const luminance = (colour: string) => {
		const [r = 0, g = 0, blue = 0] = (colour.match(/\d+/g) ?? []).map(
			(text) => {
				const c = Number(text) / 255;
				return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
			},
		);
		return 0.2126 * r + 0.7152 * g + 0.0722 * blue;
	};
	const [low = 0, high = 0] = [luminance(a), luminance(b)].toSorted(
		(x, y) => x - y,
	);
	return (high + 0.05) / (low + 0.05);
}
