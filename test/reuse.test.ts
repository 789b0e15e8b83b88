/** What runs of one process share, and what they must not. */
import { describe, expect, it } from "vitest";
import { loadBackbone } from "../src/models/index.ts";
import { Reuse } from "../src/reuse.ts";
import type { Network } from "../src/trunk.ts";

const load = () =>
	loadBackbone(
		{ name: "vit", width: 8, depth: 4, heads: 2, patch: 8 },
		[16, 16],
		1,
	);
const network: Network = {
	backbone: load(),
	from: 3,
	patchBlocks: [1],
	threads: 1,
};

describe("a trunk", () => {
	it("is shared by runs that look at the same with the same backbone", () => {
		const reuse = new Reuse(1);
		expect(reuse.trunk({ ...network, patchBlocks: [1] })).toBe(
			reuse.trunk(network),
		);
	});

	it.each<[string, Partial<Network>]>([
		["another backbone", { backbone: load() }],
		["other trained blocks", { from: 2 }],
		["other threads", { threads: 2 }],
		["patches of other blocks", { patchBlocks: [0, 1] }],
		["no patches", { patchBlocks: [] }],
	])("is not shared with a run of %s", (_, other) => {
		const reuse = new Reuse(1);
		const first = reuse.trunk(network);
		expect(reuse.trunk({ ...network, ...other })).not.toBe(first);
		expect(reuse.trunk(network)).toBe(first);
	});
});
