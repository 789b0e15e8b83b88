/** The dashboard before the real server: from an empty folder to a corrected verdict, with nothing but a browser. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { frozenRun } from "../drawn.ts";
import { type Running, serving } from "../server/running.ts";
import {
	accessible,
	chooser,
	drop,
	launchBrowser,
	noBrowser,
	open,
	settled,
	shoot,
	skipped,
} from "./browser.ts";
import { drawLine, type Line } from "./fake.ts";

describe.skipIf(noBrowser)(
	`the dashboard of the real server in Chromium${skipped}`,
	() => {
		let browser: Browser;
		let dir: string;
		let line: Line;
		let server: Running;
		beforeAll(async () => {
			dir = mkdtempSync(join(tmpdir(), "keepsight-dashboard-real-"));
			line = await drawLine(join(dir, "line"));
			const config = join(dir, "run.yaml");
			writeFileSync(
				config,
				frozenRun({
					root: dir,
					tasks: ["mvtec/tablet"],
					out: join(dir, "out"),
				}),
			);
			server = await serving(
				join(dir, "run"),
				"--keep-images",
				"--config",
				config,
			);
			browser = await launchBrowser();
		});
		afterAll(async () => {
			await browser?.close();
			const code = await server?.stop();
			rmSync(dir, { recursive: true, force: true });
			expect(code).toBe(0);
		});

		const of = (product: string, which: "good" | "bad") =>
			(line[product]?.[which] ?? []).map(({ file }) => file);
		const add = async (
			page: Page,
			name: string,
			choose: (page: Page) => Promise<void>,
		) => {
			await page.goto(`${server.url}/#/add`);
			await page.getByLabel("Name").fill(name);
			await choose(page);
			await page.getByRole("button", { name: "Learn", exact: true }).click();
			// how many look odd is the memory's to say: all are taken as good
			const odd = page.getByRole("button", { name: /^Learn with all/ });
			const done = page.getByText(/^Done: version/);
			await odd.or(done).waitFor({ timeout: 60_000 });
			if (await odd.isVisible()) {
				await accessible(page);
				await shoot(page, "real-odd-1280-light");
				await odd.click();
			}
			await done.waitFor({ timeout: 60_000 });
		};

		test("two products are learnt, a part is scored, corrected, learnt, and all is taken back", async () => {
			await open(browser, `${server.url}/`, async ({ page }) => {
				await page.getByText("Nothing is learnt yet.").waitFor();
				const tablet = `line "1"/<b>tablet</b>`;
				await add(page, tablet, () =>
					chooser(page, "Choose pictures").setInputFiles(
						of("mvtec/tablet", "good").slice(0, 11),
					),
				);
				await add(page, "line 2/flange", () =>
					chooser(page, "Choose a folder").setInputFiles(
						join(dir, "line", "mvtec", "flange", "train"),
					),
				);
				await page.getByRole("link", { name: "Open the product" }).click();
				await page
					.getByRole("heading", { level: 1, name: "line 2/flange" })
					.waitFor();
				await settled(page);
				await accessible(page);
				await shoot(page, "real-product-1280-light");

				await page.getByRole("link", { name: "Score", exact: true }).click();
				const verdict = page.locator(".large .verdict");
				for (const [i, path] of of("mvtec/tablet", "bad").entries()) {
					await drop(page, [{ name: `part ${i}.png`, path }]);
					await page.getByRole("region", { name: `part ${i}.png` }).waitFor();
					expect(await verdict.textContent()).not.toBe("");
				}
				await shoot(page, "real-scored-1280-light");
				await page.getByLabel("Product").selectOption({ label: tablet });
				const [spare = ""] = of("mvtec/tablet", "good").slice(11);
				await drop(page, [{ name: "spare.png", path: spare }]);
				const result = page.getByRole("region", { name: "spare.png" });
				await result.waitFor();
				expect(await result.locator(".facts dd").first().textContent()).toBe(
					tablet,
				);
				await result.getByRole("button", { name: "Good part" }).click();
				await result.locator('[aria-pressed="true"]').waitFor();

				await page.getByRole("link", { name: "Live", exact: true }).click();
				await settled(page);
				const rows = page.locator(".feed > li");
				expect(await rows.count()).toBe(of("mvtec/tablet", "bad").length + 1);
				expect(
					await rows.first().locator('.good[aria-pressed="true"]').count(),
				).toBe(1);
				await rows.first().getByRole("button", { name: /^Look/ }).click();
				await page
					.getByRole("img", { name: /with what stands out coloured/ })
					.waitFor();
				await page.evaluate(
					"Promise.all([...document.images].map((image) => image.decode()))",
				);
				await accessible(page);
				await shoot(page, "live-real-1280-light");

				await page.getByRole("link", { name: "Review", exact: true }).click();
				await page.getByRole("checkbox").check();
				await page.getByRole("button", { name: "Learn 1 picture" }).click();
				await page.getByText("Done: version 3").waitFor({ timeout: 60_000 });
				await page.getByText("Nothing waits for a review.").waitFor();

				await page.getByRole("link", { name: "Versions", exact: true }).click();
				await settled(page);
				await page.getByText(/of 6 kept pictures would get/).waitFor();
				const waits = page.getByRole("button", { name: "Activate" });
				if (await waits.isVisible()) await waits.click();
				await page.getByRole("link", { name: "Memory 3" }).waitFor();
				await accessible(page);
				await shoot(page, "real-versions-1280-light");
				await page
					.getByRole("listitem")
					.filter({ has: page.getByRole("heading", { name: "Version 2" }) })
					.getByRole("button")
					.click();
				await page
					.getByRole("dialog")
					.getByRole("button", { name: "Go back to this" })
					.click();
				await page.getByText("Done: version 4").waitFor({ timeout: 60_000 });
				await page.getByRole("link", { name: "Memory 4" }).waitFor();

				await page.goto(
					`${server.url}/#/products/${encodeURIComponent(tablet)}`,
				);
				await page.getByLabel("Exactly").fill("0.2");
				await page.keyboard.press("Tab");
				await page.getByRole("button", { name: "Set threshold" }).click();
				await page.getByText("Done: version 5").waitFor({ timeout: 60_000 });
				// all that was scored would be judged otherwise, so a person has to agree
				await page.getByText("it waits for you to activate it").waitFor();
				await page.getByText("as calibrated").first().waitFor();
				await page.getByRole("link", { name: "See versions" }).click();
				await page.getByRole("button", { name: "Activate" }).click();
				await page.getByRole("link", { name: "Memory 5" }).waitFor();
				await page.goBack();
				await page.getByText("set by hand").waitFor();
				await page.getByRole("link", { name: "Runs", exact: true }).click();
				await settled(page);
			});
		}, 300_000);
	},
);
