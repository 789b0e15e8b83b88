/** Reads an event file as far as it is whole: TFRecords of protobuf messages, both CRCs checked. */
import { readFileSync } from "node:fs";
import { expect } from "vitest";
import { crc32c } from "../../src/tracking/tensorboard.ts";

export interface Event {
	time?: number;
	step?: number;
	version?: string;
	scalars?: Record<string, number>;
	/** Of the session log. */
	status?: number;
}

export function readEvents(path: string): Event[] {
	const bytes = readFileSync(path);
	const events: Event[] = [];
	for (let at = 0; at + 12 <= bytes.length; ) {
		const length = Number(bytes.readBigUInt64LE(at));
		const end = at + 12 + length;
		if (end + 4 > bytes.length) break;
		const unmasked = (stored: number) => {
			const rotated = (stored - 0xa282ead8) >>> 0;
			return ((rotated << 15) | (rotated >>> 17)) >>> 0;
		};
		expect(unmasked(bytes.readUInt32LE(at + 8))).toBe(
			crc32c(bytes.subarray(at, at + 8)),
		);
		const data = bytes.subarray(at + 12, end);
		expect(unmasked(bytes.readUInt32LE(end))).toBe(crc32c(data));
		events.push(eventOf(data));
		at = end + 4;
	}
	return events;
}

function eventOf(data: Buffer): Event {
	const event: Event = {};
	for (const [field, value] of fieldsOf(data)) {
		if (field === 1) event.time = (value as Buffer).readDoubleLE();
		if (field === 2) event.step = value as number;
		if (field === 3) event.version = String(value);
		if (field === 5) {
			event.scalars ??= {};
			for (const [, scalar] of fieldsOf(value as Buffer)) {
				const { 1: tag, 2: number } = Object.fromEntries(
					fieldsOf(scalar as Buffer),
				) as Record<number, Buffer>;
				event.scalars[String(tag)] = (number as Buffer).readFloatLE();
			}
		}
		if (field === 7)
			event.status = Object.fromEntries(fieldsOf(value as Buffer))[1] as number;
	}
	return event;
}

/** [field, value]: a number of wire type 0, else the bytes. */
function fieldsOf(data: Buffer): [number, number | Buffer][] {
	const fields: [number, number | Buffer][] = [];
	let at = 0;
	const varint = () => {
		let value = 0;
		for (let shift = 0; ; shift += 7) {
			const byte = data[at++] as number;
			value += (byte & 0x7f) * 2 ** shift;
			if (byte < 0x80) return value;
		}
	};
	while (at < data.length) {
		const key = varint();
		const wire = key & 7;
		const length = wire === 2 ? varint() : wire === 1 ? 8 : 4;
		if (wire === 0) fields.push([key >> 3, varint()]);
		else {
			fields.push([key >> 3, data.subarray(at, at + length)]);
			at += length;
		}
	}
	return fields;
}
