/** The references: methods that only say what is trained on, from where. */
import { expect, it } from "vitest";
import { finetune } from "../../src/strategies/finetune.ts";
import { frozen } from "../../src/strategies/frozen.ts";
import { isolated } from "../../src/strategies/isolated.ts";
import { joint } from "../../src/strategies/joint.ts";

it("frozen trains nothing, and keeps nothing", () => {
	expect(frozen.trains).toBe(false);
	expect(frozen.create({})).toEqual({});
});

it("joint trains once on all tasks, or anew for every row", () => {
	const options = joint.options.parse({});
	expect(joint.joint?.(options)).toBe("last");
	expect(joint.joint?.(joint.options.parse({ cumulative: true }))).toBe(
		"every",
	);
	expect(joint.create(options)).toEqual({});
});

it("joint and isolated start from the initial weights, finetune goes on", () => {
	expect([joint.startsFrom, isolated.startsFrom]).toEqual([
		"initial",
		"initial",
	]);
	expect(finetune.startsFrom).not.toBe("initial");
});
