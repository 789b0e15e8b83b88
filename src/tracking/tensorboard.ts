/**
 * Event files of TensorBoard, written without it: TFRecords of protobuf messages.
 * Formats: tensorflow/core/lib/io/record_writer.h (records, masked CRC), tensorflow/core/util/event.proto and
 * tensorflow/core/framework/summary.proto (field numbers), tensorboard/summary/writer/event_file_writer.py (names).
 */
import { hostname } from "node:os";
import { Message } from "../engine/protobuf.ts";
import type { Run } from "../run.ts";

/** Remainders of all bytes for CRC-32C (Castagnoli): RFC 3720, 12.1, with the polynomial's bits reversed. */
const table = Uint32Array.from({ length: 256 }, (_, byte) => {
	let c = byte;
	for (let bit = 0; bit < 8; bit++)
		c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
	return c;
});

export function crc32c(bytes: Uint8Array): number {
	let c = 0xffffffff;
	for (const byte of bytes)
		c = (table[(c ^ byte) & 0xff] as number) ^ (c >>> 8);
	return ~c >>> 0;
}

/** A CRC of data that holds CRCs would be weak, so they are stored rotated, plus a constant (tensorflow/core/lib/hash/crc32c.h). */
const masked = (crc: number): number =>
	(((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;

/** Length (8 bytes, little-endian), its CRC, the data, its CRC. */
export function recordOf(data: Uint8Array): Uint8Array {
	const out = Buffer.alloc(8 + 4 + data.length + 4);
	out.writeBigUInt64LE(BigInt(data.length), 0);
	out.writeUInt32LE(masked(crc32c(out.subarray(0, 8))), 8);
	out.set(data, 12);
	out.writeUInt32LE(masked(crc32c(data)), 12 + data.length);
	return out;
}

const eventAt = (ms: number): Message => new Message().double(1, ms / 1000);

/** What every file begins with. */
const fileVersion = (ms: number): Message =>
	eventAt(ms).text(3, "brain.Event:2");

/** SessionLog START: readers drop what earlier files have from this step on, as it comes again. */
const sessionStart = (ms: number, step: number): Message =>
	eventAt(ms).integer(2, step).message(7, new Message().integer(1, 1));

function scalarEvent(
	ms: number,
	step: number,
	scalars: readonly (readonly [string, number])[],
): Message {
	const summary = new Message();
	for (const [tag, value] of scalars)
		summary.message(1, new Message().text(1, tag).float(2, value));
	return eventAt(ms).integer(2, step).message(5, summary);
}

/** This process's event file in a run folder; it begins with the first scalar. */
export class EventFile {
	readonly #run: Run;
	#name: string | null = null;

	constructor(run: Run) {
		this.#run = run;
	}

	/** `ms` since 1970. */
	write(
		scalars: readonly (readonly [string, number])[],
		{ step, ms }: { readonly step: number; readonly ms: number },
	): void {
		if (scalars.length === 0) return;
		const events = [scalarEvent(ms, step, scalars)];
		if (this.#name === null) {
			this.#name = nameAfter(this.#run.eventFiles, ms);
			events.unshift(fileVersion(ms), sessionStart(ms, step));
		}
		this.#run.appendEvents(
			this.#name,
			Buffer.concat(events.map((event) => recordOf(event.bytes()))),
		);
	}
}

/** Files are read in the order of their names, so a name's seconds come after all others', whatever the clock says. */
function nameAfter(files: readonly string[], ms: number): string {
	const seconds = files.reduce(
		(latest, file) => Math.max(latest, Number(file.split(".")[3]) + 1 || 0),
		Math.floor(ms / 1000),
	);
	const host = hostname().replace(/[^A-Za-z0-9-]/g, "-");
	return `events.out.tfevents.${String(seconds).padStart(10, "0")}.${host}.${process.pid}.0`;
}
