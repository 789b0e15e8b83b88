/**
 * What a file or an answer becomes on its way: mutations that know what they change. A case is a valid input and a few changes, each three
 * numbers, so that fast-check can draw and shrink them; the same case gives the same bytes.
 */
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { treeProblem } from "../../src/storage.ts";

/** Which change (`what`), where (`at`), and how (`by`): each counts modulo what there is to choose from. */
interface Change {
	readonly what: number;
	readonly at: number;
	readonly by: number;
}

/** A valid input, by its number, and what is done to it. */
export interface Case {
	readonly seed: number;
	readonly changes: readonly Change[];
}

/** The bytes of a case. */
export type Mutator = (
	seeds: readonly Uint8Array[],
	drawn: Case,
) => Uint8Array<ArrayBufferLike>;

const number = fc.noBias(fc.nat({ max: 0xffff_ffff }));
export const cases: fc.Arbitrary<Case> = fc.record({
	seed: number,
	changes: fc.array(fc.record({ what: number, at: number, by: number }), {
		minLength: 1,
		maxLength: 5,
	}),
});

const pick = <T>(list: readonly T[], n: number): T =>
	list[n % list.length] as T;

// ---- bytes ----

/** Sides, counts and offsets as a hostile header has them. */
const integers = [
	0, 1, -1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 0x7fff_ffff,
	-0x8000_0000,
];

/** A change of bytes of any kind. `others` are what may be spliced in. */
function changedBytes(
	bytes: Buffer,
	{ what, at, by }: Change,
	others: readonly Uint8Array[],
): Buffer {
	const place = bytes.length === 0 ? 0 : at % bytes.length;
	const length = 1 + (by % Math.min(64, bytes.length + 1));
	const before = bytes.subarray(0, place);
	const after = bytes.subarray(place);
	const copy = Buffer.from(bytes);
	switch (what % 10) {
		case 0: // a bit flips
			if (copy.length > 0)
				copy[place] = (copy[place] as number) ^ (1 << (by % 8));
			return copy;
		case 1:
			if (copy.length > 0)
				copy[place] = pick([0, 1, 0x7f, 0x80, 0xff, by & 255], by >>> 8);
			return copy;
		case 2: // cut off
			return Buffer.from(before);
		case 3: // a part is missing
			return Buffer.concat([before, after.subarray(length)]);
		case 4: // a part comes twice
			return Buffer.concat([before, after.subarray(0, length), after]);
		case 5: {
			const other = pick(others, by);
			return Buffer.concat([
				before,
				other.subarray(other.length === 0 ? 0 : at % other.length),
			]);
		}
		case 6:
		case 7: {
			const value = pick(integers, by);
			const width = pick([1, 2, 4, 8], by >>> 8);
			const number = Buffer.alloc(8);
			number.writeBigInt64LE(BigInt(value));
			const own = number.subarray(0, width);
			copy.set(
				((by >>> 16) % 2 === 0 ? own : own.toReversed()).subarray(
					0,
					copy.length - place,
				),
				place,
			);
			return copy;
		}
		case 8:
			return Buffer.concat([before, Buffer.alloc(length, by >>> 8), after]);
		default: {
			const more = Buffer.alloc(pick([1, 4096, 100_000], by), by >>> 8);
			return Buffer.concat([bytes, more]);
		}
	}
}

export const bytes: Mutator = (seeds, { seed, changes }) =>
	changes.reduce<Buffer>(
		(now, change) => changedBytes(now, change, seeds),
		Buffer.from(pick(seeds, seed)),
	);

/** PNG: the checksums of the chunks are made right again for half of the cases, or no decoder would look any further. */
export const png: Mutator = (seeds, drawn) => {
	const out = Buffer.from(bytes(seeds, drawn));
	if ((drawn.changes[0] as Change).by % 2 === 0) return out;
	for (let at = 8; at + 12 <= out.length; ) {
		const end = at + 8 + out.readUInt32BE(at);
		if (end + 4 > out.length) break;
		out.writeUInt32BE(crc32(out.subarray(at + 4, end)), end);
		at = end + 4;
	}
	return out;
};

// ---- text ----

const extremes = [
	"0",
	"-0",
	"1",
	"-1",
	"0.5",
	"1e-320",
	"255",
	"256",
	"65536",
	"2147483648",
	"4294967296",
	"9007199254740993",
	"1e21",
	"1e308",
	"1e999",
	"-1e999",
];

/** A change of text; `tokens` are words that mean something there. */
function changedText(
	text: string,
	{ what, at, by }: Change,
	tokens: readonly string[],
): string {
	const place = at % (text.length + 1);
	const lines = text.split("\n");
	const row = at % lines.length;
	switch (what % 9) {
		case 0:
			return text.slice(0, place) + pick(tokens, by) + text.slice(place);
		case 1:
			return lines.toSpliced(row, 1).join("\n");
		case 2: // a line comes twice, or moves
			return lines
				.toSpliced(by % (lines.length + 1), 0, lines[row] as string)
				.join("\n");
		case 3: {
			const numbers = [...text.matchAll(/-?\d+(\.\d+)?(e[+-]?\d+)?/gi)];
			const hit = numbers.length === 0 ? null : pick(numbers, at);
			if (!hit) return `${text}${pick(extremes, by)}`;
			return (
				text.slice(0, hit.index) +
				pick(extremes, by) +
				text.slice(hit.index + hit[0].length)
			);
		}
		case 4: {
			const words = [...text.matchAll(/[\w.-]+/g)];
			const hit = words.length === 0 ? null : pick(words, at);
			if (!hit) return pick(tokens, by);
			return (
				text.slice(0, hit.index) +
				pick(tokens, by) +
				text.slice(hit.index + hit[0].length)
			);
		}
		case 5:
			return text.slice(0, place);
		case 6: // the same word, very often
			return (
				text.slice(0, place) +
				pick(tokens, by).repeat(pick([2, 30, 1000, 20_000], by >>> 8)) +
				text.slice(place)
			);
		case 7:
			return text.slice(0, place) + text.slice(place + 1 + (by % 40));
		default:
			return (
				text.slice(0, place) +
				String.fromCharCode(
					pick([0, 9, 13, 34, 39, 0xfeff, 0xd800, by & 0xffff], by),
				) +
				text.slice(place)
			);
	}
}

/** Text of a language with these words; one change in eight is one of bytes. */
export const text =
	(tokens: readonly string[]): Mutator =>
	(seeds, { seed, changes }) =>
		changes.reduce<Buffer>(
			(now, change) =>
				change.by % 8 === 7
					? changedBytes(now, change, seeds)
					: Buffer.from(changedText(now.toString(), change, tokens)),
			Buffer.from(pick(seeds, seed)),
		);

export const yaml = text([
	"&a ",
	"*a",
	"&a [*a]",
	"<<: *a\n",
	"!!js/function ",
	"!!binary ",
	"!!set ",
	"!x ",
	"? ",
	": ",
	"- ",
	"[",
	"]",
	"{",
	"}",
	"{a: ",
	"__proto__: ",
	"constructor: ",
	"null",
	"~",
	"true",
	".nan",
	".inf",
	"-.inf",
	"0x7fffffffffffffff",
	"0o17",
	"1e999",
	"'",
	'"',
	"|\n",
	">\n",
	"# ",
	"---\n",
	"...\n",
	"%YAML 9.9\n",
	"\t",
	", ",
	"@",
	"`",
	"name: ",
	"tasks: [a/x]",
]);

export const csv = text([
	",",
	'"',
	'""',
	"\r\n",
	"\r",
	"\n",
	";",
	"\t",
	"nan",
	"inf",
	"-Infinity",
	"1e999",
	"=1+1",
	"'=1",
	"label",
	"score",
	"threshold",
	"path",
	"yes",
	"0x1",
	"1_000",
	"",
]);

// ---- JSON ----

/** Text that stands in the JSON as it is: JSON.stringify would not write it. */
const raw = (text: string) => `\0raw:${text}`;
const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);

const hostile: readonly unknown[] = [
	null,
	true,
	false,
	...extremes.map(raw),
	"",
	"a",
	"x".repeat(5000),
	"__proto__",
	"constructor",
	"../../etc/passwd",
	"/etc/passwd",
	"a\0b",
	"\ud800",
	"<script>x</script>",
	"1",
	"NaN",
	[],
	{},
	[[]],
	[null],
	{ toString: 1 },
	raw('{"__proto__":{"a":1}}'),
	raw(nested(600)),
	raw(nested(20_000)),
	raw(`[${"0,".repeat(5000)}0]`),
];
const keys = [
	"__proto__",
	"constructor",
	"toString",
	"length",
	"",
	"a",
	"A",
	"é",
	"x".repeat(300),
	"0",
	"a.b",
	"\0",
];

/** Values of a tree that is to grow any further. */
const LARGEST = 3000;

interface Node {
	readonly holder: Record<string, unknown> | unknown[];
	readonly key: string | number;
}

function nodesOf(holder: Node["holder"], found: Node[] = []): Node[] {
	for (const key of Object.keys(holder)) {
		found.push({ holder, key: Array.isArray(holder) ? Number(key) : key });
		const value = (holder as Record<string, unknown>)[key];
		if (typeof value === "object" && value !== null)
			nodesOf(value as Node["holder"], found);
	}
	return found;
}

const valueOf = ({ holder, key }: Node): unknown =>
	(holder as Record<string | number, unknown>)[key];

/** An own property, whatever its name. */
const put = ({ holder, key }: Node, value: unknown): void => {
	Object.defineProperty(holder, key, {
		value,
		writable: true,
		enumerable: true,
		configurable: true,
	});
};

function changeJson(
	root: Record<string, unknown>,
	{ what, at, by }: Change,
): void {
	const nodes = nodesOf(root);
	if (nodes.length === 0 || nodes.length > LARGEST) return;
	const node = pick(nodes, at);
	const { holder, key } = node;
	const value = valueOf(node);
	switch (what % 10) {
		case 0:
		case 1:
		case 2:
			return put(node, structuredClone(pick(hostile, by)));
		case 3: // missing
			if (Array.isArray(holder)) holder.splice(Number(key), 1);
			else Reflect.deleteProperty(holder, key);
			return;
		case 4: // twice
			if (Array.isArray(holder))
				holder.splice(Number(key), 0, structuredClone(value));
			else
				put(
					{ holder, key: `\0dup${by % 7}:${key}` },
					structuredClone(pick(hostile, by)),
				);
			return;
		case 5:
			return put(
				{
					holder: Array.isArray(holder) ? root : holder,
					key: pick(keys, by),
				},
				structuredClone(value),
			);
		case 6:
			if (Array.isArray(holder)) holder.reverse();
			else {
				Reflect.deleteProperty(holder, key);
				put({ holder, key: pick(keys, by) }, value);
			}
			return;
		case 7: {
			const other = structuredClone(valueOf(pick(nodes, by)));
			return put(node, other);
		}
		case 8:
			return put(node, by % 2 === 0 ? [value] : { [pick(keys, by)]: value });
		default: {
			if (typeof value === "number") return put(node, raw(pick(extremes, by)));
			if (typeof value === "string")
				return put(
					node,
					pick(
						[
							`${value}${value}`,
							value.slice(0, by % (value.length + 1)),
							`${value} `,
							value.toUpperCase(),
							`../${value}`,
							`${value}\0`,
						],
						by,
					),
				);
			if (Array.isArray(value))
				return put(
					node,
					by % 2 === 0
						? []
						: Array.from({ length: 50 }, () => structuredClone(value)).flat(),
				);
			return put(node, structuredClone(pick(hostile, by)));
		}
	}
}

const written = (value: unknown): string =>
	JSON.stringify(value)
		.replace(/"\\u0000raw:((?:[^"\\]|\\.)*)"/g, (_, text: string) =>
			text.replaceAll('\\"', '"'),
		)
		.replace(/"\\u0000dup\d:/g, '"');

/** JSON by its structure; one change in ten is one of its text afterwards, one in ten of its bytes. */
export const json: Mutator = (seeds, { seed, changes }) => {
	const root: Record<string, unknown> = {};
	const from = Buffer.from(pick(seeds, seed));
	try {
		root.value = JSON.parse(from.toString());
		if (treeProblem(root.value, true) !== null) throw new Error("too deep");
	} catch {
		return bytes(seeds, { seed, changes }); // a seed of the corpus that is no JSON, or too deep to be walked
	}
	const later = (change: Change) => change.by % 10 >= 8;
	for (const change of changes)
		if (!later(change)) changeJson(root, { ...change, by: change.by >>> 4 });
	return changes
		.filter(later)
		.reduce<Buffer>(
			(now, change) =>
				change.by % 10 === 8
					? changedBytes(now, change, seeds)
					: Buffer.from(
							changedText(now.toString(), change, [
								"{",
								"}",
								"[",
								"]",
								",",
								":",
								'"',
								"\\u0000",
								"1e999",
								"NaN",
								"//",
								'"__proto__":',
							]),
						),
			Buffer.from(written("value" in root ? root.value : null)),
		);
};

/** Lines of JSON: one of them is changed. */
export const jsonLines: Mutator = (seeds, drawn) => {
	const lines = Buffer.from(pick(seeds, drawn.seed)).toString().split("\n");
	const row = (drawn.changes[0] as Change).at % lines.length;
	const line = json(
		lines.map((one) => Buffer.from(one)),
		{ seed: row, changes: drawn.changes },
	);
	return Buffer.from(
		lines.with(row, Buffer.from(line).toString("latin1")).join("\n"),
		"latin1",
	);
};

/**
 * safetensors: half of the cases change the header as JSON, with its length made right again, and in half of those the data as well; the others
 * change any bytes.
 */
export const safetensors: Mutator = (seeds, drawn) => {
	const [first] = drawn.changes as [Change];
	const whole = Buffer.from(pick(seeds, drawn.seed));
	const length = whole.length < 8 ? -1 : Number(whole.readBigUInt64LE());
	if (first.by % 2 === 0 || length < 0 || 8 + length > whole.length)
		return bytes(seeds, drawn);
	const header = json([whole.subarray(8, 8 + length)], {
		seed: 0,
		changes: drawn.changes.map(({ what, at, by }) => ({
			what,
			at,
			by: by >>> 1,
		})),
	});
	const size = Buffer.alloc(8);
	size.writeBigUInt64LE(BigInt(header.length));
	const data = whole.subarray(8 + length);
	return Buffer.concat([
		size,
		header,
		first.by % 4 === 1 ? data : changedBytes(data, first, seeds),
	]);
};
