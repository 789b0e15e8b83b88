/** The dashboard in Chromium, before a server that is made up (fake.ts); with KEEPSIGHT_SHOTS=1 screenshots go to .cache/artefacts/dashboard/. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decodeImage } from "../../src/data/image.ts";
import {
	accessible,
	chooser,
	drop,
	focused,
	type Look,
	launchBrowser,
	noBrowser,
	open,
	settled,
	shoot,
	skipped,
	type Visited,
	wideOf,
} from "./browser.ts";
import { drawLine, Fake, hostile, type Line, products } from "./fake.ts";

const pages = [
	["live", "#/live"],
	["score", "#/score"],
	["products", "#/products"],
	["product", `#/products/${encodeURIComponent(products.flange)}`],
	["add", "#/add"],
	["review", "#/review"],
	["versions", "#/versions"],
	["runs", "#/runs"],
] as const;

describe.skipIf(noBrowser)(`the dashboard in Chromium${skipped}`, () => {
	let browser: Browser;
	let dir: string;
	let line: Line;
	beforeAll(async () => {
		dir = mkdtempSync(join(tmpdir(), "keepsight-dashboard-"));
		line = await drawLine(dir);
		browser = await launchBrowser();
	});
	afterAll(async () => {
		await browser?.close();
		rmSync(dir, { recursive: true, force: true });
	});

	interface Visit extends Visited {
		readonly fake: Fake;
	}
	/** A page of its own before a server of its own. */
	async function visit(
		hash: string,
		body: (visit: Visit) => Promise<void>,
		{
			server = {},
			...look
		}: Look & {
			readonly server?: Partial<Parameters<typeof Fake.start>[0]>;
		} = {},
	): Promise<void> {
		const fake = await Fake.start({ line, web: "dist/web", ...server });
		try {
			await open(
				browser,
				`${fake.url}/${hash}`,
				(visited) => body({ ...visited, fake }),
				look,
			);
		} finally {
			await fake.close();
		}
	}

	const looks = [
		...pages.flatMap(([name, hash]) => [
			[name, 1280, "light", 900, hash] as const,
			[name, 400, "dark", 800, hash] as const,
		]),
		["live", 400, "light", 800, "#/live"] as const,
		["live", 1280, "dark", 900, "#/live"] as const,
		["live", 3840, "dark", 2160, "#/live"] as const,
		["product", 3840, "light", 2160, pages[3][1]] as const,
	];
	test.each(looks)(
		"%s at %i px, %s: nothing complained of, nothing too wide, axe finds nothing",
		async (name, width, colorScheme, height, hash) => {
			await visit(
				hash,
				async ({ page }) => {
					await settled(page);
					expect(await wideOf(page)).toBe(0);
					await shoot(page, `${name}-${width}-${colorScheme}`);
					await accessible(page);
				},
				{ width, height, colorScheme, server: { history: 33 } },
			);
		},
		60_000,
	);

	test.each(
		pages.filter(([name]) => name !== "add" && name !== "review"), // nobody links to the one, and the other is empty there
	)(
		"%s of a replica says whom to ask, and offers no change",
		async (name, hash) => {
			await visit(
				hash,
				async ({ page }) => {
					await settled(page);
					const note = page.getByRole("note").first();
					expect(await note.textContent()).toContain("http://writer:8080");
					for (const change of [
						/^Good part$/,
						/^Bad part$/,
						/^Learn/,
						/^Withdraw/,
						/^Activate/,
						/^Go back/,
						/^Set/,
						/^Forget/,
						/^Recalibrate/,
						/^Add/,
					])
						expect(
							await page.getByRole("button", { name: change }).count(),
							String(change),
						).toBe(0);
					expect(await page.locator('a[href="#/add"]').count()).toBe(0);
					await shoot(page, `${name}-replica`);
					await accessible(page);
				},
				{
					server: {
						history: 33,
						replica: { writer: "http://writer:8080" },
					},
				},
			);
		},
		60_000,
	);

	const goods = (n: number) =>
		(line["mvtec/tablet"]?.good ?? []).slice(0, n).map(({ file }) => file);
	test("a dropped picture is scored, and its verdict is said aloud", async () => {
		await visit("#/score", async ({ page, fake }) => {
			await settled(page);
			const [path = ""] = goods(1);
			await page.getByLabel("Product").selectOption({ label: products.tablet });
			await drop(page, [{ name: "crack <b>.png", path }]);
			const result = page.getByRole("region", { name: "crack <b>.png" });
			await result.locator(".verdict.defect").waitFor();
			const reply = fake.calls.find(({ what }) => /predict/.test(what));
			expect(reply?.what).toBe(
				`POST /v1/predict?task=${encodeURIComponent(products.tablet)}&map=png`,
			);
			const scale = result.getByRole("img", { name: /^Score .* threshold/ });
			expect(await scale.getAttribute("aria-label")).toMatch(
				/^Score \d+\.\d\d, threshold 2\.00$/,
			);
			expect(await page.getByRole("status").allTextContents()).toContainEqual(
				expect.stringMatching(
					/^defect, line-1\/tablet: score \d+\.\d\d, threshold 2\.00\.$/,
				),
			);
			const picture = result.locator("img");
			expect(await picture.getAttribute("src")).toMatch(/^data:image\/png/);
			await accessible(page);
			await shoot(page, "scored-1280-light");
			await result.getByLabel("Show what stands out").uncheck();
			expect(await picture.getAttribute("src")).toMatch(/^blob:/);
			for (const [name, verdict] of [
				["stranger.png", "unknown product"],
				["dark.png", "unusable"],
			]) {
				await drop(page, [{ name: name as string, path }]);
				await page.getByRole("region", { name: name as string }).waitFor();
				expect(await page.locator(".large .verdict").textContent()).toBe(
					verdict,
				);
			}
		});
	});

	test("what cannot be scored says why", async () => {
		await visit("#/score", async ({ page, complaints }) => {
			await settled(page);
			await chooser(page, "Choose a picture").setInputFiles({
				name: "empty.png",
				mimeType: "image/png",
				buffer: Buffer.alloc(0),
			});
			const alert = page.getByRole("alert");
			expect(await alert.textContent()).toContain("This is no picture.");
			// Chromium itself names the answer 415 on its console
			expect(complaints.splice(0)).toEqual([
				expect.stringContaining("status of 415"),
			]);
		});
	});

	test("feedback by keyboard alone, from the skip link on", async () => {
		await visit("#/live", async ({ page, fake }) => {
			await settled(page);
			await page.keyboard.press("Tab");
			await expect.poll(() => focused(page)).toBe("Skip to the page");
			await page.keyboard.press("Enter");
			await expect.poll(() => focused(page)).toBe("Live");
			let presses = 0;
			while ((await focused(page)) !== "Bad part" && presses++ < 20)
				await page.keyboard.press("Tab");
			const ring = await page.evaluate(
				"getComputedStyle(document.activeElement).outlineStyle",
			);
			expect(ring).toBe("solid");
			await page.keyboard.press("Enter");
			const pressed = page.locator('.say .bad[aria-pressed="true"]').first();
			await pressed.waitFor();
			expect(fake.calls.at(-1)).toEqual({
				what: "POST /v1/feedback",
				sent: { prediction: 60, label: "bad" },
			});
			expect(await page.locator(".unseen[role=status]").textContent()).toBe(
				"Noted: bad. It is in Review.",
			);
		});
	});

	test("the feed goes on by itself, waits when paused, and comes back after the server was away", async () => {
		await visit("#/live", async ({ page, fake }) => {
			await settled(page);
			const newest = () => page.locator(".feed > li").first();
			await page.getByText("Connected").waitFor();
			fake.predict(products.tablet, "unsure");
			await expect
				.poll(() => newest().locator(".verdict").textContent())
				.toBe("unsure");
			await page.getByRole("button", { name: "Pause" }).click();
			const { name } = fake.predict(products.tablet, "defect");
			await page.getByRole("button", { name: "Resume (1 new)" }).click();
			expect(await newest().textContent()).toContain(name);
			fake.drop();
			await page.getByText("Connecting …").waitFor();
			fake.predict(products.tablet, "unusable"); // while nobody listened
			await page.getByText("Connected").waitFor();
			await expect
				.poll(() => newest().locator(".verdict").textContent())
				.toBe("unusable");
			await page
				.getByLabel("Verdict")
				.selectOption({ label: "unknown product" });
			await expect.poll(() => page.locator(".feed > li").count()).toBe(2);
			await page
				.getByRole("button", { name: /^Look closer/ })
				.first()
				.click();
			await page
				.getByRole("img", { name: /with what stands out coloured/ })
				.waitFor();
			await accessible(page);
			await shoot(page, "closer-1280-light");
		});
	});

	test("a fast line: 500 at once are shown newest first, and no more than two pages of them", async () => {
		await visit("#/live", async ({ page, fake }) => {
			await settled(page);
			await page.getByText("Connected").waitFor();
			const { name } = Array.from({ length: 500 }, () =>
				fake.predict(products.tablet, "good"),
			).at(-2) as { readonly name: string };
			const rows = page.locator(".feed > li");
			await expect.poll(() => rows.count(), { timeout: 10_000 }).toBe(120);
			expect(await rows.nth(1).textContent()).toContain(name);
			expect(
				await page
					.getByRole("img", { name: /^Scores of .* of line-1/ })
					.getAttribute("aria-label"),
			).toMatch(/^Scores of the last 5\d\d pictures/);
		});
	}, 60_000);

	test("the threshold slider counts again, is set, is reset, follows what was called bad", async () => {
		await visit(
			`#/products/${encodeURIComponent(products.hostile)}`,
			async ({ page, fake }) => {
				await settled(page);
				const results = () => page.locator(".results li").allTextContents();
				const [rejects, catches] = await results();
				expect(rejects).toMatch(/^rejects \d of 184 good pictures/);
				expect(catches).toBe("catches 0 of 1 that were called bad");
				const slider = page.getByRole("slider");
				await slider.focus();
				for (let i = 0; i < 30; i++) await page.keyboard.press("ArrowLeft");
				expect((await results())[1]).toBe(
					"catches 1 of 1 that were called bad",
				);
				await page.getByLabel("Exactly").fill("0");
				await page.keyboard.press("Tab");
				expect((await results())[0]).toBe(
					"rejects 184 of 184 good pictures (100 %)",
				);
				await page.getByLabel("Exactly").fill("1.25");
				await page.keyboard.press("Tab");
				await page.getByRole("button", { name: "Set threshold" }).click();
				await page.getByText("Done: version 6 of the memory.").waitFor();
				expect(
					fake.calls.find(({ what }) => what.startsWith("PUT"))?.sent,
				).toEqual({ threshold: 1.25 });
				const figure = page.locator(".figures", { hasText: "set by hand" });
				await figure.waitFor();
				await page
					.getByRole("button", { name: "Just below what was called bad" })
					.click();
				await page.getByText("Done: version 7 of the memory.").waitFor();
				await page.getByRole("button", { name: "As calibrated" }).click();
				await page.getByText("Done: version 8 of the memory.").waitFor();
				expect(
					fake.calls
						.filter(({ what }) => what.startsWith("PUT"))
						.map(({ sent }) => sent),
				).toEqual([
					{ threshold: 1.25 },
					{ fromFeedback: true },
					{ threshold: null },
				]);
			},
		);
	});

	test("a product is added: pictures, where to look, progress, odd ones, done", async () => {
		await visit("#/add", async ({ page, fake, complaints }) => {
			await settled(page);
			const name = `<script>document.title="hit"</script>`;
			await page.getByLabel("Name").fill(products.tablet);
			await page.getByText("This name is taken.").waitFor();
			await page.getByLabel("Name").fill(name);
			await chooser(page, "Choose pictures").setInputFiles([
				...goods(12),
				join("test", "web", "fake.ts"),
			]);
			await page.getByText("12 pictures,").waitFor();
			await page.getByText("1 other file was left out").waitFor();
			await page.getByText("Where to look (optional)").click();
			const canvas = page.getByRole("application");
			const box = await canvas.boundingBox();
			if (!box) throw new Error("nothing to draw on");
			const at = (x: number, y: number) =>
				[box.x + x * box.width, box.y + y * box.height] as const;
			await page.mouse.move(...at(0.25, 0.25));
			await page.mouse.down();
			await page.mouse.move(...at(0.75, 0.75), { steps: 4 });
			await page.mouse.up();
			await page.getByText("25 % of the picture is looked at.").waitFor();
			// a triangle within is left out, by keyboard
			await page.getByText("Polygon", { exact: true }).click();
			await page.getByText("to be left out").click();
			await canvas.focus();
			await page.keyboard.press("Enter"); // the middle
			for (let i = 0; i < 2; i++) await page.keyboard.press("Shift+ArrowRight");
			await page.keyboard.press("Enter");
			for (let i = 0; i < 2; i++) await page.keyboard.press("Shift+ArrowDown");
			await page.keyboard.press("Enter");
			await page.getByRole("button", { name: "Close the polygon" }).click();
			await page.getByText("23 % of the picture is looked at.").waitFor();
			await accessible(page);
			await shoot(page, "roi-1280-light");
			await page.getByRole("button", { name: "Learn" }).click();

			await page.getByText("Do these belong?").waitFor();
			await accessible(page);
			await shoot(page, "odd-1280-light");
			await page
				.getByRole("group", { name: "Picture 6 is" })
				.getByText("Not good")
				.click();
			await page
				.getByRole("button", { name: "Learn without this one" })
				.click();
			await page.getByText("is learnt from 11 pictures.").waitFor();
			const what = fake.calls.map((call) => call.what);
			expect(fake.calls.find((c) => c.what === "POST /v1/tasks")?.sent).toEqual(
				{ name, kind: "learn", review: true },
			);
			const sent = what.filter((call) => /images/.test(call));
			expect(new Set(sent).size).toBe(12);
			expect(sent.length).toBe(13); // one was refused for once, and sent again
			expect(fake.calls.find((c) => c.what.endsWith("/review"))?.sent).toEqual({
				refused: [5],
			});
			const mask = await decodeImage(new Uint8Array(fake.roi ?? []), "roi");
			expect(mask.shape).toEqual([128, 128, 3]);
			const white = mask.data.filter((v) => v === 255).length;
			expect(white / mask.data.length).toBeCloseTo(0.23, 2);
			await page.getByRole("link", { name: "Open the product" }).click();
			await page.locator("h1", { hasText: name }).waitFor();
			expect(complaints.splice(0)).toEqual([
				expect.stringContaining("status of 429"),
			]);
		});
	}, 60_000);

	test("what was called good is learnt, what was said by mistake is withdrawn", async () => {
		await visit("#/review", async ({ page, fake }) => {
			await settled(page);
			const group = page.getByRole("region", { name: products.flange });
			await group.getByRole("checkbox").check();
			await group.getByRole("button", { name: "Learn 1 picture" }).click();
			await page.getByText("Done: version 6").waitFor();
			expect(
				fake.calls.find(({ what }) => what === "POST /v1/feedback/apply")?.sent,
			).toEqual({ task: products.flange, ids: [2] });
			await expect.poll(() => group.count()).toBe(0);
			await page
				.getByRole("region", { name: products.tablet })
				.getByRole("button", { name: /^Withdraw/ })
				.click();
			await expect
				.poll(() => page.getByRole("region", { name: products.tablet }).count())
				.toBe(0);
		});
	});

	test("a version that waits is activated; going back is asked for twice", async () => {
		await visit("#/versions", async ({ page, fake }) => {
			await settled(page);
			const version = (n: number) =>
				page.getByRole("listitem").filter({
					has: page.getByRole("heading", { name: `Version ${n}` }),
				});
			await page
				.getByText("3 of 1,200 kept pictures would get another verdict")
				.waitFor();
			await page.getByRole("button", { name: "Activate" }).click();
			await version(5).getByText("active").waitFor();
			await page.getByRole("link", { name: "Memory 5" }).waitFor();
			const back = version(3).getByRole("button");
			await back.click();
			await page.getByRole("dialog").waitFor();
			await accessible(page);
			await page.keyboard.press("Escape");
			await expect.poll(() => focused(page)).toBe("Go back to this");
			await back.click();
			await page
				.getByRole("dialog")
				.getByRole("button", { name: "Go back to this" })
				.click();
			await page.getByText("Done: version 6").waitFor();
			expect(
				fake.calls
					.filter(({ what }) => what.startsWith("POST"))
					.map(({ what }) => what),
			).toEqual([
				"POST /v1/versions/5/activate",
				"POST /v1/versions/3/activate",
			]);
		});
	});

	test("a product is forgotten after a question", async () => {
		await visit(
			`#/products/${encodeURIComponent(products.hostile)}`,
			async ({ page, fake }) => {
				await settled(page);
				const ask = page.getByRole("button", { name: "Forget this product" });
				await ask.click();
				await page
					.getByRole("dialog")
					.getByRole("button", { name: "Cancel" })
					.click();
				expect(fake.calls.some(({ what }) => what.startsWith("DELETE"))).toBe(
					false,
				);
				await ask.click();
				await page.getByRole("button", { name: "Forget it" }).click();
				await page.getByText("is forgotten.").waitFor();
				await page.getByRole("link", { name: "Products" }).click();
				await expect.poll(() => page.locator(".product.card").count()).toBe(2);
			},
		);
	});

	test("names stay text wherever they are shown", async () => {
		await visit("#/products", async ({ page }) => {
			for (const hash of pages.map(([, at]) => at)) {
				await page.evaluate(`location.hash = ${JSON.stringify(hash)}`);
				await settled(page);
				expect(
					await page.evaluate(
						"document.querySelectorAll('main script, main img[src=x]').length",
					),
				).toBe(0);
			}
			await page.evaluate(`location.hash = "#/products"`);
			expect(
				await page.locator(".product.card strong").allTextContents(),
			).toContain(hostile);
		});
	});

	test("a token is asked for, a wrong one again, the right one opens all", async () => {
		const token = "correct horse battery";
		await visit(
			"#/live",
			async ({ page, complaints }) => {
				const field = page.getByLabel("Token");
				await field.fill("wrong");
				await accessible(page);
				await shoot(page, "token-1280-light");
				await page.keyboard.press("Enter");
				await page.getByText("did not take this token").waitFor();
				await field.fill(token);
				await page.keyboard.press("Enter");
				await settled(page);
				await page.getByText("Connected").waitFor();
				await page
					.getByRole("img", { name: /^Picture of/ })
					.first()
					.waitFor();
				expect(await page.evaluate("localStorage.length")).toBe(0);
				// Chromium itself names every 401 on its console
				const said = complaints.splice(0);
				expect(said.length).toBeGreaterThan(0);
				for (const line of said) expect(line).toContain("status of 401");
			},
			{ server: { token } },
		);
	});

	test("a server that has learnt nothing shows the way", async () => {
		await visit(
			"#/live",
			async ({ page }) => {
				for (const [, hash] of pages.filter(([name]) => name !== "product")) {
					await page.evaluate(`location.hash = ${JSON.stringify(hash)}`);
					await settled(page);
					await accessible(page);
				}
				await page.evaluate(`location.hash = "#/live"`);
				await page.getByRole("link", { name: "Add a product" }).click();
				await expect.poll(() => focused(page)).toBe("Add a product");
			},
			{ server: { empty: true } },
		);
	}, 60_000);

	test("a product that is not there is a message, not an empty page", async () => {
		await visit("#/products/nothing", async ({ page, complaints }) => {
			expect(await page.getByRole("alert").textContent()).toContain(
				"There is no product nothing.",
			);
			for (const line of complaints.splice(0))
				expect(line).toContain("status of 404");
		});
	});

	test("the policy holds: an inline style is refused", async () => {
		await visit("#/live", async ({ page, complaints }) => {
			await settled(page);
			await page.evaluate(
				`document.querySelector("h1").innerHTML = '<b style="color: red">x</b>'`,
			);
			await expect.poll(() => complaints.length).toBe(1);
			expect(complaints.splice(0)[0]).toContain("Content Security Policy");
		});
	});

	test("who wants less motion gets none", async () => {
		await visit(
			"#/live",
			async ({ page }) => {
				await settled(page);
				expect(
					await page.evaluate(
						"getComputedStyle(document.querySelector('.mark')).transitionProperty",
					),
				).toBe("none");
			},
			{ reducedMotion: "reduce" },
		);
	});
});
