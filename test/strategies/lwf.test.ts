import { expect, it } from "vitest";
import { input } from "../../src/engine/graph.ts";
import { Session } from "../../src/engine/runtime.ts";
import { float32 } from "../../src/engine/tensor.ts";
import { relativeDistance } from "../../src/strategies/lwf.ts";

it("layers: the squared error relative to the teacher's own size, the mean over what is held", async () => {
	const shapes = [[2, 3], [4]];
	const named = (name: string) =>
		shapes.map((shape, i) => input(`${name}${i}`, shape));
	const session = await Session.create(
		{ distance: relativeDistance(named("teacher"), named("student")) },
		{ threads: 1 },
	);
	const { distance } = await session.run({
		teacher0: float32([2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)),
		student0: float32([2, 3], Float32Array.of(1, 2, 3, 4, 5, 7)),
		teacher1: float32([4], Float32Array.of(10, 0, 0, 0)),
		student1: float32([4], Float32Array.of(10, 3, 4, 0)),
	});
	await session.release();
	// 1 / (1 + 4 + 9 + 16 + 25 + 36) and 25 / 100
	expect(distance?.data[0]).toBeCloseTo((1 / 91 + 25 / 100) / 2, 6);
});
