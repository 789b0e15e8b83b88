/** A process that computes 41 + 1 on the device it is told, and answers with the sum (devices.ts). */
import { input } from "./engine/graph.ts";
import { add } from "./engine/ops/index.ts";
import { computeOn, Session } from "./engine/runtime.ts";
import { float32, type Tensor } from "./engine/tensor.ts";

computeOn(process.argv[2] as string);
const session = await Session.create(
	{ y: add(input("x", [1]), 1) },
	{ threads: 1 },
);
const { y } = await session.run({ x: float32([1], Float32Array.of(41)) });
process.stdout.write(String((y as Tensor).data[0]));
