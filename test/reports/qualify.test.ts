/** The page and the text of a qualification whose names are hostile. */
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";
import { expect, test } from "vitest";
import { webpUri } from "../../src/data/image.ts";
import { undefinedBecause } from "../../src/metrics/measured.ts";
import { renderQualification } from "../../src/reports/qualify.ts";
import { formatQualification } from "../../src/reports/qualifyText.ts";
import { noise } from "../pretext/pictures.ts";
import { detection, qualification } from "../qualify/made-up.ts";

const stamp = { version: "0", date: "2026-01-02" };
const examples = [
	{ diameter: 8, hit: true, picture: await webpUri(noise(24, 24, 1)) },
];
const page = renderQualification(qualification, examples, stamp);

const withoutScript = (text: string) =>
	text.slice(0, text.lastIndexOf("<script>"));

/** Text of the page, without its style sheet, script and charts. */
const body = withoutScript(page)
	.slice(page.indexOf("<body>"))
	.replaceAll(/<svg[\s\S]*?<\/svg>/g, "");

test("names are text", () => {
	expect(body).not.toMatch(/<img src=x|<script>alert|<b>"/);
	expect(page).not.toMatch(/<img src=x|<script>alert/);
	expect(body).toContain("&lt;script&gt;alert(2)&lt;x&gt;");
	expect(body).toContain(
		"&quot;&gt;&lt;img src=x onerror=alert(1)&gt;&#39;&amp;",
	);
});

test("every figure is there, with its interval", () => {
	expect(body).toContain("2 of 5; 95 %: 5.3 to 85.3 %"); // SciPy 1.17: 0.0527, 0.8534
	for (const text of [
		"Qualification of 2026-01-02",
		"EV",
		"Fleiss",
		"a90/95",
		"MIL-HDBK-1823A",
		"signature",
	])
		expect(body).toContain(text);
});

test("what cannot be told is a dash with its reason, and no chart fails without it", () => {
	const none = undefinedBecause("all were misses");
	const without = renderQualification(
		{
			...qualification,
			labelled: null,
			gauge: null,
			detection: {
				...detection,
				curve: null,
				reason: "all were misses",
				a50: none,
				a90: none,
				a90Safe: none,
				mmPerPixel: null,
			},
		},
		[],
		stamp,
	);
	expect(without).toContain('title="all were misses"');
	expect(without).toContain("No curve could be fitted: all were misses.");
	for (const one of [without, page])
		expect(withoutScript(one)).not.toMatch(/NaN|undefined|Infinity/);
});

test("nothing pasted at all leaves a page too", () => {
	const empty = {
		...detection,
		trials: [],
		sizes: [],
		curve: null,
		reason: "every usable picture is stopped with nothing pasted",
	};
	expect(
		renderQualification({ ...qualification, detection: empty }, [], stamp),
	).toContain("every usable picture is stopped with nothing pasted");
});

test("the text names what went wrong, a line each, whatever the names hold", () => {
	const text = formatQualification({
		...qualification,
		task: "a\nb\u001b[2J",
	});
	expect(text).not.toContain("\u001b");
	const lines = text.split("\n");
	expect(lines[0]).toContain('"a\\nb\\u001b[2J", memory version 3');
	expect(lines.indexOf("escaped:")).toBeGreaterThan(0);
	expect(lines).toContain("escapes   2 of 5, 40.0 % (95 %: 5.3 to 85.3 %)");
	expect(lines.at(-1)).toMatch(/^a90\/95 +(\d|-)/);
});

const executablePath = "/usr/bin/chromium";
const noBrowser = !existsSync(executablePath);

test.skipIf(noBrowser)(
	`in Chromium, light and dark, wide and on a phone${noBrowser ? ` (skipped: there is no ${executablePath}; apt-get install chromium)` : ""}`,
	async () => {
		const work = mkdtempSync(join(tmpdir(), "keepsight-qualify-page-"));
		const shots = join(".cache", "artefacts", "qualify");
		mkdirSync(shots, { recursive: true });
		const file = join(work, "page.html");
		writeFileSync(file, page);
		const browser = await chromium.launch({
			executablePath,
			args: ["--no-sandbox", "--disable-background-networking"],
		});
		try {
			for (const [width, colorScheme] of [
				[1280, "light"],
				[400, "dark"],
			] as const) {
				const tab = await browser.newPage({
					viewport: { width, height: 900 },
					colorScheme,
				});
				const complaints: string[] = [];
				const address = pathToFileURL(file).href;
				tab.on("console", (message) => complaints.push(message.text()));
				tab.on("pageerror", (error) => complaints.push(error.message));
				tab.on("dialog", (dialog) => complaints.push(dialog.message()));
				tab.on("request", (request) => {
					if (request.url() !== address && !request.url().startsWith("data:"))
						complaints.push(request.url());
				});
				await tab.goto(address);
				await tab.screenshot({
					path: join(shots, `${width}-${colorScheme}.png`),
					fullPage: true,
				});
				expect(complaints).toEqual([]);
				expect(await tab.evaluate("document.documentElement.scrollWidth")).toBe(
					width,
				);
				expect(await tab.locator("svg.chart").count()).toBe(3);
				// the first table can be sorted
				const first = tab.locator("table.sortable").first();
				await first.locator("th button").nth(1).click();
				expect(
					await first.locator("thead th").nth(1).getAttribute("aria-sort"),
				).toBe("descending");
			}
		} finally {
			await browser.close();
			rmSync(work, { recursive: true, force: true });
		}
	},
	60_000,
);
