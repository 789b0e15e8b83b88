/**
 * Event files by the bytes: the CRC of RFC 3720, the framing and the messages read back by a small parser of our own, and by TensorBoard
 * itself where KEEPSIGHT_PYTHON names a Python that has it.
 */
import { spawnSync } from "node:child_process";
import {
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	truncateSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import type { Run } from "../../src/run.ts";
import { append } from "../../src/storage.ts";
import { crc32c, EventFile, recordOf } from "../../src/tracking/tensorboard.ts";
import { readEvents } from "./events.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-tensorboard-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
afterEach(() => vi.restoreAllMocks());

describe("crc32c", () => {
	const bytes = (of: (i: number) => number) =>
		Uint8Array.from({ length: 32 }, (_, i) => of(i));
	// RFC 3720, B.4, as the numbers of its bytes in their order
	it.each([
		["32 bytes of zeroes", bytes(() => 0), 0x8a9136aa],
		["32 bytes of ones", bytes(() => 0xff), 0x62a8ab43],
		["32 bytes of 0..31", bytes((i) => i), 0x46dd794e],
		["32 bytes of 31..0", bytes((i) => 31 - i), 0x113fdb5c],
		["nothing", new Uint8Array(0), 0],
	])("%s", (_, data, crc) => {
		expect(crc32c(data)).toBe(crc);
	});
});

it("a record is length, its CRC, data, its CRC", () => {
	const record = Buffer.from(recordOf(Buffer.from("brain")));
	expect(record.length).toBe(8 + 4 + 5 + 4);
	expect(record.readBigUInt64LE(0)).toBe(5n);
	expect(record.toString("utf8", 12, 17)).toBe("brain");
});

/** As much of a run folder as an event file needs. */
const folder = (dir: string) =>
	({
		get eventFiles() {
			try {
				return readdirSync(dir);
			} catch {
				return [];
			}
		},
		appendEvents: (name: string, bytes: Uint8Array) =>
			append(join(dir, name), bytes),
	}) as unknown as Run;

/** Two processes: the second goes on from step 20, which the first had begun to write. */
function interrupted(name: string): string {
	const dir = join(work, name);
	const ms = 1_790_000_000_250;
	const first = new EventFile(folder(dir));
	first.write(
		[
			["train/loss", 0.5],
			["eval/image_auroc/mvtec/ä", 0.75],
		],
		{ step: 10, ms },
	);
	first.write([["train/loss", 9]], { step: 20, ms: ms + 10 });
	first.write([["train/loss", 9]], { step: 30, ms: ms + 20 });
	first.write([], { step: 31, ms });
	const [file] = readdirSync(dir) as [string];
	const path = join(dir, file);
	truncateSync(path, readFileSync(path).length - 3); // a kill tore the last record
	const second = new EventFile(folder(dir));
	second.write([["train/loss", 0.25]], { step: 20, ms: ms + 30 });
	return dir;
}

it("a file begins with its version and the step from which on it replaces what came before", () => {
	const dir = interrupted("bytes");
	const names = readdirSync(dir);
	expect(names).toHaveLength(2);
	expect(names[0]).toMatch(
		/^events\.out\.tfevents\.1790000000\.[\w-]+\.\d+\.0$/,
	);
	expect(names[1]).toMatch(/^events\.out\.tfevents\.1790000001\./); // the same second, yet after it
	expect(readEvents(join(dir, names[0] as string))).toEqual([
		{ time: 1_790_000_000.25, version: "brain.Event:2" },
		{ time: 1_790_000_000.25, step: 10, status: 1 },
		{
			time: 1_790_000_000.25,
			step: 10,
			scalars: { "train/loss": 0.5, "eval/image_auroc/mvtec/ä": 0.75 },
		},
		{ time: 1_790_000_000.26, step: 20, scalars: { "train/loss": 9 } },
	]);
	expect(readEvents(join(dir, names[1] as string))).toEqual([
		{ time: 1_790_000_000.28, version: "brain.Event:2" },
		{ time: 1_790_000_000.28, step: 20, status: 1 },
		{ time: 1_790_000_000.28, step: 20, scalars: { "train/loss": 0.25 } },
	]);
});

describe("TensorBoard", () => {
	const python = process.env.KEEPSIGHT_PYTHON;
	const usable =
		python !== undefined &&
		spawnSync(python, ["-c", "import tensorboard"]).status === 0;
	if (!usable)
		it.skip("KEEPSIGHT_PYTHON names no Python with tensorboard", () => {});
	else {
		it("reads each step once", () => {
			const read = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}))
`;
			const { stdout, stderr } = spawnSync(
				python,
				["-c", read, interrupted("read")],
				{ encoding: "utf8" },
			);
			expect(JSON.parse(stdout || stderr)).toEqual({
				"train/loss": [
					[10, 0.5],
					[20, 0.25],
				],
				"eval/image_auroc/mvtec/ä": [[10, 0.75]],
			});
		});
	}
});
