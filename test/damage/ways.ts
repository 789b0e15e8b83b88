/** Every way of damage: how it is done. What is then said is in docs/errors.md, which damage.test.ts holds against the program. */
import {
	chmodSync,
	copyFileSync,
	cpSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmSync,
	statSync,
	symlinkSync,
	truncateSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import Database from "libsql";
import sharp from "sharp";
import { encodePng } from "../../src/data/image.ts";
import { type AnyTensor, float32, uint8 } from "../../src/engine/tensor.ts";
import {
	readSafetensors,
	toTensor,
	writeSafetensors,
} from "../../src/models/safetensors.ts";
import { History } from "../../src/server/history.ts";
import { sha256, stableJson } from "../../src/storage.ts";
import { size } from "../drawn.ts";
import type { Kind, OperationName } from "./places.ts";

export interface Way {
	/** As docs/errors.md calls it. */
	readonly name: string;
	readonly damage: (dir: string) => void | Promise<void>;
	readonly commands: readonly OperationName[];
	/** Only who has no right to all files meets it. */
	readonly rights?: true;
}

const way = (
	name: string,
	damage: Way["damage"],
	...commands: OperationName[]
): Way => ({
	name,
	damage,
	commands,
});

// ---- what many ways do ----

const flip = (path: string, at?: number) => {
	const bytes = readFileSync(path);
	const i = at ?? bytes.length >> 1;
	bytes[i] = (bytes[i] as number) ^ 1;
	writeFileSync(path, bytes);
};
const halve = (path: string) => truncateSync(path, statSync(path).size >> 1);
const empty = (path: string) => truncateSync(path, 0);
const asFolder = (path: string) => {
	rmSync(path);
	mkdirSync(path);
};
const asFile = (path: string) => {
	rmSync(path, { recursive: true });
	writeFileSync(path, "");
};
const loop = (path: string) => {
	rmSync(path);
	symlinkSync(path, path);
};
/** Bytes in place of a file. */
const put = (path: string, content: string | Uint8Array) =>
	writeFileSync(path, content);
const edit = (path: string, change: (json: Json) => void) => {
	const json = JSON.parse(readFileSync(path, "utf8")) as Json;
	change(json);
	writeFileSync(path, stableJson(json));
};
type Json = ReturnType<typeof JSON.parse>;

const outside = (dir: string) => join(dir, "../outside");

// ---- of data sets ----

const good = (dir: string, name = "3.png") =>
	join(dir, "mvtec/a/train/good", name);
const test = (dir: string, name: string) => join(dir, "mvtec/a/test", name);
const truth = (dir: string, name: string) =>
	join(dir, "mvtec/a/ground_truth", name);
const kit = (dir: string, name = "") => join(dir, "loco/k", name);
const picture = () =>
	sharp(
		Uint8Array.from({ length: size * size * 3 }, (_, i) => (i * 37) % 251),
		{ raw: { width: size, height: size, channels: 3 } },
	);

/** The header of a PNG of so many pixels; no decoder gets to what is missing. */
function claimed(width: number, height: number): Uint8Array {
	const png = Buffer.from(
		"89504e470d0a1a0a0000000d4948445200000000000000000802000000",
		"hex",
	);
	png.writeUInt32BE(width, 16);
	png.writeUInt32BE(height, 20);
	const crc = Buffer.alloc(4);
	crc.writeUInt32BE(crc32(png.subarray(12)) >>> 0);
	return Buffer.concat([
		png,
		crc,
		Buffer.from("0000000049444154", "hex"),
		Buffer.alloc(64),
	]);
}
function crc32(bytes: Uint8Array): number {
	let crc = ~0;
	for (const byte of bytes) {
		crc ^= byte;
		for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

const data: readonly Way[] = [
	way(
		"a good image is cut in half",
		(d) => halve(good(d)),
		"data check",
		"train",
	),
	way(
		"a good image has a flipped bit",
		(d) => flip(good(d)),
		"data check",
		"train",
	),
	way("a good image is empty", (d) => empty(good(d)), "data check", "train"),
	way("a good image is missing", (d) => rmSync(good(d)), "data check", "train"),
	way(
		"a good image is a text",
		(d) => put(good(d), "no picture"),
		"data check",
		"train",
	),
	way(
		"a good image is a folder",
		(d) => asFolder(good(d)),
		"data check",
		"train",
	),
	way(
		"a good image is a link to itself",
		(d) => loop(good(d)),
		"data check",
		"train",
	),
	way(
		"a good image is a link out of the data root",
		(d) => {
			rmSync(good(d));
			writeFileSync(outside(d), "secret");
			symlinkSync(outside(d), good(d));
		},
		"data check",
		"train",
	),
	{
		...way(
			"a good image may not be read",
			(d) => chmodSync(good(d), 0),
			"data check",
			"train",
		),
		rights: true,
	},
	way(
		"a good image is an SVG under the name of a PNG",
		(d) =>
			put(
				good(d),
				'<svg xmlns="http://www.w3.org/2000/svg" width="32" height="32"/>',
			),
		"data check",
		"train",
	),
	way(
		"a good image claims 50,000 x 50,000 pixels",
		(d) => put(good(d), claimed(50_000, 50_000)),
		"data check",
		"train",
	),
	way(
		"a good image is in CMYK",
		async (d) =>
			put(good(d), await picture().toColourspace("cmyk").jpeg().toBuffer()),
		"data check",
		"train",
	),
	way(
		"a good image has 16 bits a channel",
		async (d) =>
			put(good(d), await picture().toColourspace("rgb16").png().toBuffer()),
		"data check",
		"train",
	),
	way(
		"a good image is animated",
		async (d) =>
			put(
				good(d),
				await sharp(
					[
						await picture().png().toBuffer(),
						await picture().negate().png().toBuffer(),
					],
					{
						join: { animated: true },
					},
				)
					.webp({ lossless: true })
					.toBuffer(),
			),
		"data check",
		"train",
	),
	way(
		"a good image of another size",
		async (d) => put(good(d), await picture().resize(48, 40).png().toBuffer()),
		"data check",
		"train",
	),
	way(
		"a good image twice",
		(d) => copyFileSync(good(d), good(d, "99.png")),
		"data check",
		"train",
	),
	way(
		"a good image among the defects",
		(d) => copyFileSync(good(d), test(d, "spot/0.png")),
		"data check",
	),
	way(
		"a good image among the good test images",
		(d) => copyFileSync(good(d), test(d, "good/0.png")),
		"data check",
	),
	way(
		"a good image under a name of other case",
		(d) => renameSync(good(d, "4.png"), good(d, "3.PNG")),
		"data check",
		"train",
	),
	way(
		"a name of 255 bytes",
		(d) => renameSync(good(d), good(d, `${"n".repeat(251)}.png`)),
		"data check",
		"train",
	),
	way(
		"a line break in a name",
		(d) => renameSync(good(d), good(d, "3\n4.png")),
		"data check",
		"train",
	),
	way(
		"a name that is no UTF-8",
		(d) =>
			renameSync(
				good(d),
				Buffer.concat([
					Buffer.from(`${good(d, "")}/`),
					Buffer.from([0xff]),
					Buffer.from(".png"),
				]),
			),
		"data check",
		"train",
	),
	way(
		"a name that no decoder has",
		(d) => renameSync(good(d), good(d, "3.txt")),
		"data check",
		"train",
	),
	way(
		"train/good is empty",
		(d) => {
			for (const name of readdirSync(good(d, ""))) rmSync(good(d, name));
		},
		"data check",
		"train",
	),
	way(
		"train/good is a file",
		(d) => asFile(good(d, "")),
		"data check",
		"train",
	),
	way(
		"train/good is a link out of the data root",
		(d) => {
			rmSync(good(d, ""), { recursive: true });
			mkdirSync(outside(d));
			symlinkSync(outside(d), good(d, ""));
		},
		"data check",
		"train",
	),
	way(
		"the category has another name",
		(d) => renameSync(join(d, "mvtec/a"), join(d, "mvtec/aa")),
		"train",
	),
	way(
		"the category is missing",
		(d) => rmSync(join(d, "mvtec/a"), { recursive: true }),
		"train",
	),
	way(
		"the data root is empty",
		(d) => {
			for (const name of readdirSync(d))
				rmSync(join(d, name), { recursive: true });
		},
		"data check",
		"train",
	),
	way("the data root is a file", asFile, "data check", "train"),
	way(
		"a folder of defects is empty",
		(d) => {
			for (const i of [0, 1]) rmSync(test(d, `spot/${i}.png`));
		},
		"data check",
		"train",
	),
	way(
		"a defective image is cut in half",
		(d) => halve(test(d, "spot/1.png")),
		"data check",
		"eval --data_root",
		"predict mvtec/a/test",
	),
	way(
		"a defective image is empty",
		(d) => empty(test(d, "spot/1.png")),
		"predict mvtec/a/test",
	),
	way(
		"a mask is missing",
		(d) => rmSync(truth(d, "spot/1_mask.png")),
		"data check",
		"eval --data_root",
	),
	way(
		"a mask of another size",
		async (d) =>
			put(
				truth(d, "spot/1_mask.png"),
				await encodePng(uint8([16, 16], new Uint8Array(256).fill(255))),
			),
		"data check",
		"eval --data_root",
	),
	way(
		"a mask without a white pixel",
		async (d) =>
			put(truth(d, "spot/1_mask.png"), await encodePng(uint8([size, size]))),
		"data check",
		"eval --data_root",
	),
	way(
		"a mask is cut in half",
		(d) => halve(truth(d, "spot/1_mask.png")),
		"data check",
		"eval --data_root",
	),
	way(
		"a mask for a good image",
		(d) => cpSync(truth(d, "spot"), truth(d, "good"), { recursive: true }),
		"data check",
		"eval --data_root",
	),
	way(
		"a mask for no image",
		(d) =>
			copyFileSync(truth(d, "spot/1_mask.png"), truth(d, "spot/7_mask.png")),
		"data check",
		"eval --data_root",
	),
	way(
		"ground_truth is a file",
		(d) => asFile(truth(d, "")),
		"data check",
		"eval --data_root",
	),
	way(
		"defects_config.json is no JSON",
		(d) => put(kit(d, "defects_config.json"), "["),
		"data check",
		"learn --data loco/k",
	),
	way(
		"defects_config.json is an object",
		(d) => put(kit(d, "defects_config.json"), "{}"),
		"data check",
	),
	way(
		"defects_config.json is a folder",
		(d) => asFolder(kit(d, "defects_config.json")),
		"data check",
	),
	way(
		"defects_config.json lacks a mask's value",
		(d) =>
			edit(kit(d, "defects_config.json"), (json) => {
				json[0].pixel_value = 7;
			}),
		"data check",
	),
	way(
		"a LOCO mask is a file where its folder belongs",
		(d) => asFile(kit(d, "ground_truth/structural_anomalies/1")),
		"data check",
	),
];

// ---- of backbones ----

const weights = (d: string) => join(d, "model.safetensors");
const about = (d: string) => join(d, "config.json");
const own = (d: string, file: string) =>
	join(d, "assets/keepsight/backbones/local/own", file);

type Tensors = Record<string, AnyTensor>;
const tensorsOf = (bytes: Uint8Array): Tensors =>
	Object.fromEntries(
		Object.entries(readSafetensors(bytes, "damage").tensors).map(
			([name, t]) => [name, toTensor(t)],
		),
	);
/** The weights with other tensors. */
const retold = (d: string, change: (tensors: Tensors) => void) => {
	const tensors = tensorsOf(readFileSync(weights(d)));
	change(tensors);
	put(weights(d), writeSafetensors(tensors));
};
/** The weights with another header. */
const headed = (
	bytes: Uint8Array,
	change: (header: string) => string,
): Uint8Array => {
	const buffer = Buffer.from(bytes);
	const length = Number(buffer.readBigUInt64LE(0));
	const header = Buffer.from(change(buffer.subarray(8, 8 + length).toString()));
	const prefix = Buffer.alloc(8);
	prefix.writeBigUInt64LE(BigInt(header.length));
	return Buffer.concat([prefix, header, buffer.subarray(8 + length)]);
};
const reheaded = (d: string, change: (header: string) => string) =>
	put(weights(d), headed(readFileSync(weights(d)), change));
const claims = (d: string, bytes: bigint) => {
	const buffer = readFileSync(weights(d));
	buffer.writeBigUInt64LE(bytes);
	put(weights(d), buffer);
};
const swap = (tensors: Tensors, a: string, b: string) => {
	[tensors[a], tensors[b]] = [tensors[b] as AnyTensor, tensors[a] as AnyTensor];
};

const backbone: readonly Way[] = [
	way(
		"model.safetensors is cut in half",
		(d) => halve(weights(d)),
		"train with it",
	),
	way("model.safetensors is empty", (d) => empty(weights(d)), "train with it"),
	way(
		"model.safetensors is missing",
		(d) => rmSync(weights(d)),
		"train with it",
		"backbone import",
	),
	way(
		"model.safetensors is a folder",
		(d) => asFolder(weights(d)),
		"train with it",
	),
	way(
		"model.safetensors is a link to itself",
		(d) => loop(weights(d)),
		"train with it",
	),
	way(
		"model.safetensors has a byte too many",
		(d) =>
			put(weights(d), Buffer.concat([readFileSync(weights(d)), Buffer.of(0)])),
		"train with it",
	),
	way(
		"its header claims 2^63 bytes",
		(d) => claims(d, 2n ** 63n),
		"train with it",
	),
	way(
		"its header claims 100 MB",
		(d) => claims(d, 100_000_000n),
		"train with it",
	),
	way(
		"its header is no JSON",
		(d) => reheaded(d, (header) => header.replace(":", ";")),
		"train with it",
	),
	way(
		"its header names a tensor twice",
		(d) =>
			reheaded(d, (header) => header.replace('"cls_token"', '"pos_embed"')),
		"train with it",
	),
	way(
		"a tensor lies outside the file",
		(d) =>
			reheaded(d, (header) =>
				header.replace(/"data_offsets":\[0,/, '"data_offsets":[99999999,'),
			),
		"train with it",
	),
	way(
		"two tensors overlap",
		(d) =>
			reheaded(d, (header) => {
				const json = JSON.parse(header);
				json["norm.weight"].data_offsets = json["norm.bias"].data_offsets;
				return JSON.stringify(json);
			}),
		"train with it",
	),
	way(
		"a tensor of an unknown dtype",
		(d) => reheaded(d, (header) => header.replace("F32", "F3")),
		"train with it",
	),
	way(
		"a tensor is missing",
		(d) =>
			retold(d, (t) => {
				delete t["blocks.1.mlp.fc2.weight"];
			}),
		"train with it",
	),
	way(
		"a tensor too many",
		(d) =>
			retold(d, (t) => {
				t.extra = float32([1]);
			}),
		"train with it",
	),
	way(
		"two tensors of other shape are swapped",
		(d) =>
			retold(d, (t) =>
				swap(t, "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight"),
			),
		"train with it",
	),
	way(
		"two tensors of one shape are swapped",
		(d) =>
			retold(d, (t) =>
				swap(t, "blocks.0.mlp.fc1.weight", "blocks.1.mlp.fc1.weight"),
			),
		"train with it",
	),
	way(
		"a tensor holds NaN",
		(d) =>
			retold(d, (t) => {
				(t["norm.weight"] as AnyTensor).data[0] = Number.NaN;
			}),
		"train with it",
		"backbone import",
	),
	way("config.json is missing", (d) => rmSync(about(d)), "train with it"),
	way("config.json is empty", (d) => empty(about(d)), "train with it"),
	way("config.json is a list", (d) => put(about(d), "[]"), "train with it"),
	way("config.json is a folder", (d) => asFolder(about(d)), "train with it"),
	way(
		"config.json has a text for the heads",
		(d) => put(about(d), '{"num_attention_heads": "2"}'),
		"train with it",
	),
	way(
		"config.json has 0 heads",
		(d) => put(about(d), '{"num_attention_heads": 0}'),
		"train with it",
	),
	way(
		"config.json is of another architecture",
		(d) => put(about(d), '{"model_type": "clip"}'),
		"train with it",
	),
	way("the folder is a file", asFile, "train with it", "backbone import"),
	way(
		"the folder is missing",
		(d) => rmSync(d, { recursive: true }),
		"train with it",
		"backbone import",
	),
];

const cache: readonly Way[] = [
	way(
		"a file of it has a flipped bit",
		(d) => flip(own(d, "model.safetensors")),
		"train with local:own",
	),
	way(
		"a file of it is cut in half",
		(d) => halve(own(d, "model.safetensors")),
		"train with local:own",
	),
	way(
		"a file of it is missing",
		(d) => rmSync(own(d, "config.json")),
		"train with local:own",
	),
	way(
		"backbone.json is missing",
		(d) => rmSync(own(d, "backbone.json")),
		"train with local:own",
	),
	way(
		"backbone.json is empty",
		(d) => empty(own(d, "backbone.json")),
		"train with local:own",
	),
	way(
		"backbone.json of another format version",
		(d) =>
			edit(own(d, "backbone.json"), (json) => {
				json.format = 2;
			}),
		"train with local:own",
	),
	way(
		"backbone.json names a file outside",
		(d) =>
			edit(own(d, "backbone.json"), (json) => {
				json.files["../x"] = json.files["config.json"];
			}),
		"train with local:own",
	),
];

// ---- of run folders ----

const record = (d: string) => join(d, "run.json");
const manifest = (d: string) => join(d, "memory/manifest.json");
const memory = (d: string, path: string) => join(d, "memory", path);
/** A file of the memory by how its path begins. */
const stored = (d: string, start: string): string =>
	Object.keys(JSON.parse(readFileSync(manifest(d), "utf8")).files).find(
		(path) => path.startsWith(start),
	) as string;
const backboneFile = (d: string) => memory(d, stored(d, "backbone."));
/** The manifest as someone would forge it: with the hash that belongs to what it then says. */
const forged = (d: string, change: (json: Json) => void) =>
	edit(manifest(d), (json) => {
		delete json.sha256;
		change(json);
		json.sha256 = sha256(Buffer.from(stableJson(json)));
	});
/** A file of the memory with other bytes, and a manifest that says so. */
const planted = (
	d: string,
	start: string,
	change: (bytes: Uint8Array) => Uint8Array,
) => {
	const path = stored(d, start);
	const bytes = change(readFileSync(memory(d, path)));
	put(memory(d, path), bytes);
	forged(d, (json) => {
		json.files[path] = { bytes: bytes.length, sha256: sha256(bytes) };
	});
};
const replanted = (
	d: string,
	start: string,
	change: (tensors: Tensors) => void,
) =>
	planted(d, start, (bytes) => {
		const tensors = tensorsOf(bytes);
		change(tensors);
		return writeSafetensors(tensors);
	});
const reviewed = (d: string, table: string) => {
	mkdirSync(join(d, "review"));
	put(join(d, "review/k.csv"), table);
};
const DENSITY = "mvtec.a/mvtec.a.dne.";
const BANK = "mvtec.a/mvtec.a.patches.";

const run: readonly Way[] = [
	way("run.json is missing", (d) => rmSync(record(d)), "predict", "eval"),
	way("run.json is empty", (d) => empty(record(d)), "predict"),
	way("run.json is cut in half", (d) => halve(record(d)), "predict"),
	way("run.json is a list", (d) => put(record(d), "[]"), "predict"),
	way("run.json is a folder", (d) => asFolder(record(d)), "predict"),
	way("run.json is a link to itself", (d) => loop(record(d)), "predict"),
	way(
		"run.json of format version 2",
		(d) =>
			edit(record(d), (json) => {
				json.format = 2;
			}),
		"predict",
		"eval",
	),
	way(
		"run.json without a format version",
		(d) =>
			edit(record(d), (json) => {
				delete json.format;
			}),
		"predict",
	),
	way(
		"run.json has a text for its tasks",
		(d) =>
			edit(record(d), (json) => {
				json.tasks = "mvtec/a";
			}),
		"predict",
	),
	way(
		"run.json has a text for its threads",
		(d) =>
			edit(record(d), (json) => {
				json.config.threads = "1";
			}),
		"predict",
	),
	way(
		"run.json has no data in its configuration",
		(d) =>
			edit(record(d), (json) => {
				delete json.config.data;
			}),
		"eval",
	),
	{
		...way(
			"run.json may not be read",
			(d) => chmodSync(record(d), 0),
			"predict",
		),
		rights: true,
	},
	way(
		"memory/ is missing",
		(d) => rmSync(memory(d, ""), { recursive: true }),
		"predict",
		"eval",
	),
	way("memory/ is a file", (d) => asFile(memory(d, "")), "predict"),
	way("manifest.json is missing", (d) => rmSync(manifest(d)), "predict"),
	way("manifest.json is empty", (d) => empty(manifest(d)), "predict"),
	way("manifest.json is cut in half", (d) => halve(manifest(d)), "predict"),
	way("manifest.json is a folder", (d) => asFolder(manifest(d)), "predict"),
	way(
		"manifest.json has another digit",
		(d) =>
			edit(manifest(d), (json) => {
				json.falseAlarms = 0.02;
			}),
		"predict",
	),
	way(
		"manifest.json of format version 2",
		(d) =>
			forged(d, (json) => {
				json.format = 2;
			}),
		"predict",
	),
	way(
		"manifest.json of version 0",
		(d) =>
			forged(d, (json) => {
				json.version = 0;
			}),
		"predict",
	),
	way(
		"manifest.json lists a file outside",
		(d) =>
			forged(d, (json) => {
				json.files["../run.json"] = json.files[stored(d, "backbone.")];
			}),
		"predict",
	),
	way(
		"manifest.json lists an absolute path",
		(d) =>
			forged(d, (json) => {
				json.files["/etc/passwd"] = json.files[stored(d, "backbone.")];
			}),
		"predict",
	),
	way(
		"manifest.json lists a file without a hash",
		(d) =>
			forged(d, (json) => {
				delete json.files[stored(d, "backbone.")].sha256;
			}),
		"predict",
	),
	way(
		"manifest.json has a list for its files",
		(d) =>
			forged(d, (json) => {
				json.files = [];
			}),
		"predict",
	),
	way(
		"manifest.json does not list the backbone",
		(d) =>
			forged(d, (json) => {
				delete json.files[stored(d, "backbone.")];
			}),
		"predict",
	),
	way(
		"manifest.json has no vit",
		(d) =>
			forged(d, (json) => {
				delete json.vit;
			}),
		"predict",
	),
	way(
		"manifest.json names an unknown memory",
		(d) =>
			forged(d, (json) => {
				json.memories[0].name = "patchez";
			}),
		"predict",
	),
	way(
		"manifest.json has an unknown option of a memory",
		(d) =>
			forged(d, (json) => {
				json.memories[0].options.colour = 1;
			}),
		"predict",
	),
	way(
		"manifest.json names a memory too few",
		(d) =>
			forged(d, (json) => {
				json.tasks[0].categories[0].memories.pop();
			}),
		"predict",
	),
	way(
		"manifest.json has other sides of the network",
		(d) =>
			forged(d, (json) => {
				json.vit.depth = 3;
			}),
		"predict",
	),
	way(
		"the backbone's weights have a flipped bit",
		(d) => flip(backboneFile(d)),
		"predict",
		"eval",
		"rollback --to 1",
	),
	way(
		"the backbone's weights are cut in half",
		(d) => halve(backboneFile(d)),
		"predict",
	),
	way(
		"the backbone's weights are missing",
		(d) => rmSync(backboneFile(d)),
		"predict",
	),
	way(
		"the backbone's weights have another name",
		(d) => renameSync(backboneFile(d), memory(d, "backbone.safetensors")),
		"predict",
	),
	way(
		"the backbone's weights are a folder",
		(d) => asFolder(backboneFile(d)),
		"predict",
	),
	way(
		"the backbone's weights are a link",
		(d) => {
			renameSync(backboneFile(d), join(d, "moved"));
			symlinkSync(join(d, "moved"), backboneFile(d));
		},
		"predict",
	),
	way(
		"a product's folder is a link",
		(d) => {
			renameSync(memory(d, "b"), join(d, "moved"));
			symlinkSync(join(d, "moved"), memory(d, "b"));
		},
		"predict",
	),
	way(
		"a product's folder is a file",
		(d) => asFile(memory(d, "b")),
		"predict",
		"tasks",
	),
	way(
		"a product's density is empty",
		(d) => empty(memory(d, stored(d, "b/b.dne."))),
		"predict",
		"tasks",
		"rollback --to 1",
	),
	way(
		"the densities of two products are swapped",
		(d) => {
			const [a, b] = [
				memory(d, stored(d, DENSITY)),
				memory(d, stored(d, "b/b.dne.")),
			];
			renameSync(a, join(d, "moved"));
			renameSync(b, a);
			renameSync(join(d, "moved"), b);
		},
		"predict",
	),
	way(
		"a file too many",
		(d) => put(memory(d, "notes.txt"), "mine"),
		"predict",
		"forget --task b",
	),
	way(
		"half a file that a kill left",
		(d) => put(memory(d, ".tmp-1"), "half"),
		"predict",
		"eval",
	),
	way(
		"forged: a density holds NaN",
		(d) =>
			replanted(d, DENSITY, (t) => {
				(t.covariance as AnyTensor).data[0] = Number.NaN;
			}),
		"predict",
	),
	way(
		"forged: a density lacks a tensor",
		(d) =>
			replanted(d, DENSITY, (t) => {
				delete t.mean;
			}),
		"predict",
	),
	way(
		"forged: two tensors of a density are swapped",
		(d) => replanted(d, DENSITY, (t) => swap(t, "mean", "covariance")),
		"predict",
	),
	way(
		"forged: a bank holds NaN",
		(d) =>
			replanted(d, BANK, (t) => {
				const { dtype, data } = t.bank as AnyTensor;
				data.fill((dtype === "float16" ? 0x7e00 : Number.NaN) as never);
			}),
		"predict",
	),
	way(
		"forged: a bank without its patches",
		(d) =>
			replanted(d, BANK, (t) => {
				delete t.bank;
			}),
		"predict",
	),
	way(
		"forged: a header of 100 MB",
		(d) =>
			planted(d, DENSITY, (bytes) => {
				const copy = Buffer.from(bytes);
				copy.writeBigUInt64LE(100_000_000n);
				return copy;
			}),
		"predict",
	),
	way(
		"forged: a tensor twice",
		(d) =>
			planted(d, DENSITY, (bytes) =>
				headed(bytes, (header) => header.replace('"mean"', '"covariance"')),
			),
		"predict",
	),
	way(
		"forged: a weight of the backbone in float64",
		(d) =>
			replanted(d, "backbone.", (t) => {
				const { shape, data } = t.cls_token as AnyTensor;
				t.cls_token = {
					dtype: "float64",
					shape,
					data: Float64Array.from(data as Float32Array),
				};
			}),
		"predict",
	),
	way(
		"forged: a weight of the backbone is NaN",
		(d) =>
			replanted(d, "backbone.", (t) => {
				(t.cls_token as AnyTensor).data[0] = Number.NaN;
			}),
		"predict",
	),
	way(
		"forged: a weight of the backbone is missing",
		(d) =>
			replanted(d, "backbone.", (t) => {
				delete t.cls_token;
			}),
		"predict",
	),
	way(
		"the manifest of version 1 is empty",
		(d) => empty(memory(d, "@versions/00000001.json")),
		"tasks",
		"rollback --to 1",
		"predict",
	),
	way(
		"the manifest of version 1 is missing",
		(d) => rmSync(memory(d, "@versions/00000001.json")),
		"rollback --to 1",
	),
	way(
		"metrics.json is cut in half",
		(d) => halve(join(d, "metrics.json")),
		"eval",
		"report",
		"predict",
	),
	way(
		"metrics.json is missing",
		(d) => rmSync(join(d, "metrics.json")),
		"eval",
		"report",
	),
	way(
		"metrics.json has no matrices",
		(d) =>
			edit(join(d, "metrics.json"), (json) => {
				delete json.matrices;
			}),
		"report",
	),
	way(
		"a score file is empty",
		(d) => empty(join(d, "scores/after-01/mvtec.a.csv")),
		"report",
		"eval",
	),
	way(
		"a score file has a text for a score",
		(d) => {
			const path = join(d, "scores/after-01/mvtec.a.csv");
			put(path, readFileSync(path, "utf8").replace(/,0,[^,]+,/, ",0,high,"));
		},
		"report",
	),
	way(
		"a score file is a folder",
		(d) => asFolder(join(d, "scores/after-01/mvtec.a.csv")),
		"report",
	),
	way("scores/ is a file", (d) => asFile(join(d, "scores")), "report", "eval"),
	way(
		"visualizations/curves.json is cut in half",
		(d) => halve(join(d, "visualizations/curves.json")),
		"report",
		"eval",
	),
	way(
		"visualizations/curves.json has a text for a curve",
		(d) =>
			edit(join(d, "visualizations/curves.json"), (json) => {
				json.pro = { "mvtec/a": "flat" };
			}),
		"report",
	),
	way(
		"visualizations/pictures.json is a list",
		(d) => put(join(d, "visualizations/pictures.json"), "[]"),
		"report",
	),
	way(
		"visualizations/pictures.json names a file outside",
		(d) =>
			edit(join(d, "visualizations/pictures.json"), (json) => {
				json.categories[0].pictures[0].file = "../../outside.png";
			}),
		"report",
	),
	way(
		"visualizations/ has lost a product's pictures",
		(d) => rmSync(join(d, "visualizations/mvtec.a"), { recursive: true }),
		"report",
	),
	way(
		"visualizations/ is missing",
		(d) => rmSync(join(d, "visualizations"), { recursive: true }),
		"report",
		"eval",
	),
	way(
		"a review's table is empty",
		(d) => reviewed(d, ""),
		"learn --task k --review",
	),
	way(
		"a review's table has another first line",
		(d) => reviewed(d, "keep;score\n"),
		"learn --task k --review",
	),
	way(
		"a review's table has an open quote",
		(d) => reviewed(d, 'keep,score,picture,path\nno,1,"001.png,x\n'),
		"learn --task k --review",
	),
	way(
		"a review's table names an image that is gone",
		(d) => reviewed(d, "keep,score,picture,path\nno,1,001.png,gone.png\n"),
		"learn --task k --review",
	),
	way(
		"the last line of log.jsonl is torn",
		(d) => halve(join(d, "log.jsonl")),
		"eval",
		"forget --task b",
	),
	way(
		"log.jsonl is a folder",
		(d) => asFolder(join(d, "log.jsonl")),
		"forget --task b",
	),
	way("the lock is empty", (d) => put(join(d, ".lock"), ""), "eval"),
	way("the lock is a folder", (d) => mkdirSync(join(d, ".lock")), "eval"),
	way(
		"serve/held.json is a text",
		(d) => {
			mkdirSync(join(d, "serve"));
			put(join(d, "serve/held.json"), "3;");
		},
		"serve",
	),
	way(
		"serve/held.json of format version 2",
		(d) => {
			mkdirSync(join(d, "serve"));
			put(join(d, "serve/held.json"), '{"format": 2, "version": 1}');
		},
		"serve",
	),
	way(
		"serve/history.sqlite is no database",
		(d) => {
			mkdirSync(join(d, "serve"));
			put(join(d, "serve/history.sqlite"), "no database ".repeat(400));
		},
		"serve",
	),
	way(
		"serve/history.sqlite of format version 2",
		async (d) => {
			mkdirSync(join(d, "serve"));
			new History(join(d, "serve"), {
				days: 1,
				bytes: 1e6,
				images: false,
			}).close();
			const db = new Database(join(d, "serve/history.sqlite"));
			db.pragma("user_version = 2");
			db.close();
		},
		"serve",
	),
	way(
		"serve/history.sqlite is a folder",
		(d) => {
			mkdirSync(join(d, "serve/history.sqlite"), { recursive: true });
		},
		"serve",
	),
	way(
		"ledger.json is a list",
		(d) => put(join(d, "ledger.json"), "[]"),
		"compare",
	),
	way(
		"ledger.json of format version 2",
		(d) => put(join(d, "ledger.json"), '{"format": 2, "cells": {}}'),
		"compare",
	),
	way(
		"ledger.json lacks a run's state",
		(d) =>
			put(
				join(d, "ledger.json"),
				'{"format": 1, "cells": {"x": {"label": "a", "seed": 0, "order": 1, "folder": "x", "seconds": 1, "message": null}}}',
			),
		"compare",
	),
];

const state = (d: string) =>
	join(
		d,
		"checkpoint",
		readdirSync(join(d, "checkpoint")).find(
			(name) => name !== "manifest.json",
		) as string,
	);

const cut: readonly Way[] = [
	way("nothing", () => {}, "train --resume", "predict", "tasks"),
	way(
		"the state within a task has a flipped bit",
		(d) => flip(state(d)),
		"train --resume",
	),
	way(
		"the state within a task is empty",
		(d) => empty(state(d)),
		"train --resume",
	),
	way(
		"the state within a task is missing",
		(d) => rmSync(state(d)),
		"train --resume",
	),
	way(
		"checkpoint/manifest.json is cut in half",
		(d) => halve(join(d, "checkpoint/manifest.json")),
		"train --resume",
	),
	way(
		"checkpoint/ is missing",
		(d) => rmSync(join(d, "checkpoint"), { recursive: true }),
		"train --resume",
	),
	way(
		"checkpoint/ is a file",
		(d) => asFile(join(d, "checkpoint")),
		"train --resume",
	),
	way(
		"run.json has another seed",
		(d) =>
			edit(record(d), (json) => {
				json.seed = 1;
			}),
		"train --resume",
	),
	way(
		"run.json of another program version",
		(d) =>
			edit(record(d), (json) => {
				json.versions.keepsight = "0.0.1";
			}),
		"train --resume",
	),
	way(
		"run.json has another fingerprint of the images",
		(d) =>
			edit(record(d), (json) => {
				json.images["mvtec/a"] = "11 images, 0000000000000000";
			}),
		"train --resume",
	),
];

/** By what is damaged. */
export const ways: Readonly<Record<Kind, readonly Way[]>> = {
	DATA: data,
	BACKBONE: backbone,
	CACHE: cache,
	RUN: run,
	CUT: cut,
};
