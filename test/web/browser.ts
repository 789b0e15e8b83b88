/** Chromium before the dashboard, and what is asked of every page. With KEEPSIGHT_SHOTS=1 screenshots go to .cache/artefacts/dashboard/. */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import axe, { type AxeResults } from "axe-core";
import {
	type Browser,
	type BrowserContextOptions,
	chromium,
	type Locator,
	type Page,
} from "playwright-core";
import { expect } from "vitest";

const executablePath = "/usr/bin/chromium";
export const noBrowser = !existsSync(executablePath);
export const skipped = noBrowser
	? ` (skipped: there is no ${executablePath}; apt-get install chromium)`
	: "";
const shots = join(".cache", "artefacts", "dashboard");

export function launchBrowser(): Promise<Browser> {
	mkdirSync(shots, { recursive: true });
	return chromium.launch({
		executablePath,
		args: ["--no-sandbox", "--disable-background-networking"],
	});
}

export interface Visited {
	readonly page: Page;
	/** What the page said on its console, threw, or asked of anybody else. */
	readonly complaints: string[];
}
export type Look = BrowserContextOptions & {
	readonly width?: number;
	readonly height?: number;
};

/** A page in a profile of its own; nothing may be complained of, nothing asked of anybody else. */
export async function open(
	browser: Browser,
	url: string,
	body: (visited: Visited) => Promise<void>,
	{ width = 1280, height = 900, ...options }: Look = {},
): Promise<void> {
	const context = await browser.newContext({
		viewport: { width, height },
		...options,
	});
	try {
		const page = await context.newPage();
		const complaints: string[] = [];
		const { origin } = new URL(url);
		page.on("console", (message) => complaints.push(message.text()));
		page.on("pageerror", (error) => complaints.push(error.message));
		page.on("request", (request) => {
			if (
				!request.url().startsWith(origin) &&
				!/^(data|blob):/.test(request.url())
			)
				complaints.push(request.url());
		});
		await page.goto(url);
		await body({ page, complaints });
		expect(complaints).toEqual([]);
		expect(await page.title()).not.toBe("hit");
	} finally {
		await context.close();
	}
}

/** Until what was asked for is there: no "Loading …", every picture near the screen decoded. */
export async function settled(page: Page): Promise<void> {
	await page.waitForLoadState("domcontentloaded");
	await page.locator("h1").waitFor();
	await expect
		.poll(() => page.getByText("Loading …").count(), { timeout: 10_000 })
		.toBe(0);
	await page.waitForTimeout(150);
	await page.evaluate(
		"Promise.all([...document.images].map((image) => image.decode()))",
	);
}
export const wideOf = (page: Page) =>
	page.evaluate(
		"document.documentElement.scrollWidth - document.documentElement.clientWidth",
	);
/** What axe-core finds against WCAG 2.2 A and AA. */
export async function accessible(page: Page): Promise<void> {
	await page.evaluate(axe.source);
	const { violations, passes } = (await page.evaluate(
		`axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })`,
	)) as AxeResults;
	expect(passes.length).toBeGreaterThan(5);
	expect(
		violations.map(
			({ id, nodes }) =>
				`${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("\n")}`,
		),
	).toEqual([]);
}

/** The file input that the button of this name opens. */
export const chooser = (page: Page, name: string): Locator =>
	page.locator("label.button", { hasText: name }).locator("input");

/** Drops files on the page as a mouse would. */
export async function drop(
	page: Page,
	files: readonly { readonly name: string; readonly path: string }[],
): Promise<void> {
	const contents = files.map(({ name, path }) => ({
		name,
		base64: readFileSync(path).toString("base64"),
	}));
	const dataTransfer = await page.evaluateHandle(`{
		const transfer = new DataTransfer();
		for (const { name, base64 } of ${JSON.stringify(contents)}) {
			const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
			transfer.items.add(new File([bytes], name, { type: "image/png" }));
		}
		transfer;
	}`);
	await page.locator(".drop").first().dispatchEvent("drop", { dataTransfer });
}

/** Words of what has the focus. */
export const focused = (page: Page): Promise<unknown> =>
	page.evaluate("document.activeElement.textContent");

/** The whole page, for people to look at (KEEPSIGHT_SHOTS, and in the soak); of a feed and at 4K what is seen at once. */
export async function shoot(page: Page, name: string): Promise<void> {
	if (!process.env.KEEPSIGHT_SHOTS && !process.env.KEEPSIGHT_SOAK) return;
	const seen = page.viewportSize();
	if (seen && !/^live|-3840-/.test(name)) {
		const height = (await page.evaluate(
			"document.documentElement.scrollHeight",
		)) as number;
		await page.setViewportSize({ ...seen, height }); // pictures are fetched once they are near
		await page.waitForTimeout(300);
	}
	await page.screenshot({ path: join(shots, `${name}.png`) });
	if (seen) await page.setViewportSize(seen);
}
