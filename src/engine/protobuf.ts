/** A protobuf message under construction. */
export class Message {
	readonly #parts: Uint8Array[] = [];
	length = 0;

	#push(part: Uint8Array): this {
		this.#parts.push(part);
		this.length += part.length;
		return this;
	}
	#varint(value: number | bigint): this {
		let v = BigInt.asUintN(64, BigInt(value));
		const out: number[] = [];
		do {
			out.push(Number(v & 0x7fn) | (v > 0x7fn ? 0x80 : 0));
			v >>= 7n;
		} while (v > 0n);
		return this.#push(Uint8Array.from(out));
	}
	integer(field: number, value: number): this {
		return this.#varint(field * 8).#varint(value);
	}
	float(field: number, value: number): this {
		return this.#varint(field * 8 + 5).#push(
			new Uint8Array(Float32Array.of(value).buffer),
		);
	}
	double(field: number, value: number): this {
		return this.#varint(field * 8 + 1).#push(
			new Uint8Array(Float64Array.of(value).buffer),
		);
	}
	raw(field: number, bytes: Uint8Array): this {
		return this.#varint(field * 8 + 2)
			.#varint(bytes.length)
			.#push(bytes);
	}
	text(field: number, text: string): this {
		return this.raw(field, Buffer.from(text, "utf8"));
	}
	message(field: number, message: Message): this {
		this.#varint(field * 8 + 2).#varint(message.length);
		for (const part of message.#parts) this.#push(part);
		return this;
	}
	bytes(): Uint8Array {
		const all = new Uint8Array(this.length);
		let at = 0;
		for (const part of this.#parts) {
			all.set(part, at);
			at += part.length;
		}
		return all;
	}
}
