/**
 * Every error a user can meet: its code, its wording, what to do about it.
 * All wording lives in the table below; docs/errors.md explains each code and a test keeps both equal.
 */

/** A mistake the user can mend: printed without a stack trace, exit code 2. */
export class KeepsightError extends Error {
	readonly code: ErrorCode;
	constructor(code: ErrorCode, message: string) {
		super(message);
		this.name = "KeepsightError";
		this.code = code;
	}
}

/** The user asked to stop; what is finished is saved. */
export class Interrupted extends Error {
	constructor() {
		super("interrupted");
		this.name = "Interrupted";
	}
}

/** "[16, 197, 192]" */
const shape = (s: readonly number[]) => `[${s.join(", ")}]`;

/** What the system's error numbers mean for the user, and what to do. */
const reasons: Readonly<Record<string, string>> = {
	ENOSPC:
		"the disk is full (ENOSPC). Free some space there, or choose a folder on another disk, then run the same command again (train and distill: with --resume)",
	EDQUOT:
		"your disk quota is used up (EDQUOT). Free some space, or choose a folder on another disk, then run the same command again (train and distill: with --resume)",
	EACCES:
		"permission denied (EACCES). Change the permissions, or choose a folder you own",
	EPERM:
		"the system does not permit it (EPERM). Change the permissions, or choose a folder you own",
	EROFS:
		"the file system is read-only (EROFS). Choose a folder on a writable disk",
	EIO: "the disk reports an input/output error (EIO). Check the disk and its cable or network, then run the same command again (train and distill: with --resume)",
	EMFILE:
		"this process has too many open files (EMFILE). Raise the limit with `ulimit -n 4096`",
	ENFILE: "the system has too many open files (ENFILE). Close other programs",
	EFBIG:
		"the file would be larger than the file system or `ulimit -f` allows (EFBIG). Raise the limit, or choose a folder on another disk",
	ENOENT: "there is no such file or folder (ENOENT). Check the path",
	ELOOP:
		"links lead in a circle (ELOOP). Replace the link by what it should lead to",
	ENOTDIR:
		"a part of the path is a file, not a folder (ENOTDIR). Choose another path",
	EEXIST:
		"something else of that name is in the way (EEXIST). Choose another path, or move it aside",
	EISDIR:
		"it is a folder, not a file (EISDIR). Choose another path, or move it aside",
	ENAMETOOLONG: "the name is too long (ENAMETOOLONG). Choose a shorter one",
	ERR_FS_FILE_TOO_LARGE: "the file is larger than 2 GiB. Use a smaller one",
};

/** Of these a user may have some of his own (plugins.ts). */
const pluggable: readonly string[] = [
	"strategy",
	"pretext",
	"pretext task",
	"memory",
	"reader",
];

/** What to do where Node.js cannot import a plugin, by the code of its error. */
const pluginHints: Readonly<Record<string, string>> = {
	ERR_MODULE_NOT_FOUND:
		"Install what it imports in its project, Keepsight too: npm install keepsight",
	ERR_PACKAGE_PATH_NOT_EXPORTED:
		'Import from "keepsight" itself; its inner files are not for others',
	ERR_UNKNOWN_FILE_EXTENSION:
		"Node.js reads TypeScript from 22.18 on: use that, or compile the file to JavaScript",
};
/** Of a file that a folder lists and that cannot be opened by that name. */
const nameless = ({ path, code }: { path: string; code: string }) =>
	code === "ENOENT" && path.includes("\uFFFD")
		? "its name is not UTF-8. Rename it"
		: undefined;

/** One line an error: what is wrong, where, and what to do. Keep the lines of one area together. */
const wording = {
	// configuration and names
	UNKNOWN_NAME: (e: {
		kind: string;
		name: string;
		where: string;
		known: readonly string[];
	}) => {
		const near = nearest(e.name, e.known);
		return `Unknown ${e.kind} "${e.name}" at ${e.where}.${near ? ` Did you mean "${near}"?` : ""} ${e.known.length > 0 ? `Use one of: ${e.known.join(", ")}.` : "None is known yet."}${pluggable.includes(e.kind) ? " One of your own comes with --plugin FILE." : ""}`;
	},
	// plugins
	PLUGIN_UNREADABLE: (e: { file: string; reason: string; code?: string }) =>
		`Cannot load the plugin ${e.file}: ${e.reason.replace(/\.$/, "")}. ${pluginHints[e.code ?? ""] ?? "Give --plugin an ES module that Node.js can import"}.`,
	PLUGIN_INVALID: (e: { file: string; problem: string }) =>
		`The plugin ${e.file} cannot be used: ${e.problem}. It is to export default definePlugin({ strategies, pretexts, memories, readers }), those it has, each an object of definitions by name.`,
	PLUGIN_CLASH: (e: {
		file: string;
		kind: string;
		name: string;
		other: string | null;
	}) =>
		`The plugin ${e.file} adds the ${e.kind} "${e.name}", and ${e.other === null ? "Keepsight has one of that name" : `${e.other} has added one of that name already`}. Give it another name.`,
	PLUGIN_CHANGED: (e: { file: string }) =>
		`The plugin ${e.file} is no longer what it was when this command began, and half of a run would be of either. Start the command again.`,
	// configuration file and command line
	CONFIG_FILE: (e: { file: string; reason: string }) =>
		`Cannot read the configuration ${e.file}: ${e.reason}. Give --config an existing YAML file, such as configs/demo.yaml.`,
	CONFIG_SYNTAX: (e: { where: string; reason: string }) =>
		`${e.where} is not valid YAML: ${e.reason}`,
	CONFIG_KEY: (e: { key: string; where: string; known: readonly string[] }) => {
		const near = nearest(e.key, e.known);
		return `Unknown key "${e.key}" at ${e.where}.${near ? ` Did you mean "${near}"?` : ""} Keys there: ${e.known.join(", ")}.`;
	},
	CONFIG_MISSING: (e: { key: string; where: string; hint: string }) =>
		`Missing key "${e.key}" in ${e.where}.${e.hint ? ` ${e.hint}` : ""}`,
	CONFIG_VALUE: (e: { where: string; problem: string }) =>
		`Wrong value at ${e.where}: ${e.problem}.`,
	SET_SYNTAX: (e: { flag: string; text: string }) =>
		`Cannot read ${e.flag} ${e.text}. Write ${e.flag === "--grid" ? "--grid key.subkey=[values], for example --grid train.epochs=[3,5]" : "--set key.subkey=value, for example --set train.epochs=3"}.`,
	USAGE: (e: { problem: string; command: string }) =>
		`${e.problem} See: ${e.command} --help`,
	// processes
	SCORER_LOST: (e: { how: string }) =>
		`The process that scores ended (${e.how}); another one takes its place. Send the picture again.`,
	CHILD_LOST: (e: { how: string; last: string }) =>
		`The working process ended by ${e.how} (last: ${e.last}). If the system ran out of memory, lower train.batch_size or image_size. What was finished is kept; run the same command again, train and backbone distill with --resume.`,
	NOTHING_LEARNT: (e: { dir: string }) =>
		`${e.dir} holds a run that has learnt no task yet. Finish one with train --resume, or learn a product, first.`,
	NOT_EVALUATED: (e: { dir: string }) =>
		`${e.dir} holds no evaluation (no metrics.json), so there is nothing to report. Run "keepsight eval --mem_dir ${e.dir}" first.`,
	// backbones
	BACKBONE_MISSING: (e: { name: string; known: readonly string[] }) =>
		`There is no backbone "${e.name}" (backbone.name): neither a folder nor one of ${e.known.join(", ")}. Give the folder that holds config.json and model.safetensors (relative paths start at the current directory), or a model of the hub as hub:OWNER/NAME${/^[\w-]+\/[\w.-]+$/.test(e.name) ? `, here hub:${e.name}` : ""}.`,
	BACKBONE_NAME: (e: { name: string; problem: string }) =>
		`${JSON.stringify(e.name)} cannot name a backbone: ${e.problem}. Write hub:OWNER/NAME or hub:OWNER/NAME@REVISION, such as hub:facebook/dinov2-small, or local:NAME.`,
	BACKBONE_NOT_CACHED: (e: {
		name: string;
		cache: string;
		folder: string;
		offline: boolean;
	}) =>
		e.name.startsWith("local:")
			? `There is no backbone ${e.name} in ${e.cache}. "keepsight backbone list" shows those there are; "keepsight backbone import DIR" adds a folder with config.json and model.safetensors.`
			: `${e.name} is not in ${e.cache}${e.offline ? ", and HF_HUB_OFFLINE is set" : ""}. Run "keepsight backbone pull ${e.name}"${e.offline ? " where there is a network" : ""}. A machine without network gets a copy of ${e.folder}, or any folder with config.json and model.safetensors, named as backbone: { name: FOLDER }.`,
	BACKBONE_DAMAGED: (e: { dir: string; problem: string; remedy: string }) =>
		`The backbone in ${e.dir} is damaged: ${e.problem}. ${e.remedy}.`,
	BACKBONE_EXISTS: (e: { name: string; dir: string }) =>
		`There is another backbone ${e.name} in ${e.dir}. Give this one another --name, or delete that folder first.`,
	BACKBONE_INCOMPLETE: (e: { dir: string; file: string }) =>
		`The backbone folder ${e.dir} has no ${e.file}. It needs config.json and model.safetensors, as the model hub lays them out.`,
	BACKBONE_UNSUPPORTED: (e: { file: string; problem: string }) =>
		`${e.file} is not a backbone that is supported: ${e.problem}. Supported are ViT-Ti/S/B/L, DeiT and DINOv2 in the tensor names of timm or transformers.`,
	WEIGHTS_DO_NOT_FIT: (e: {
		file: string;
		tensor: string;
		found: readonly number[] | null;
		wanted: readonly number[] | null;
	}) =>
		`${e.file}: tensor ${e.tensor} ${e.found ? `has shape ${shape(e.found)}` : "is missing"}${e.wanted ? `, the network needs ${shape(e.wanted)}` : ", which the network has no place for"}. Check that config.json belongs to these weights.`,
	// model hub
	HUB_UNREACHABLE: (e: { url: string; problem: string; kept: number }) =>
		`Could not get ${e.url}: ${e.problem}. Check the network, HF_ENDPOINT (for a mirror) and the proxy, then run the same command again${e.kept > 0 ? `: it goes on after the ${e.kept} bytes that have arrived` : ""}.`,
	HUB_NOT_FOUND: (e: {
		name: string;
		endpoint: string;
		what: string;
		token: boolean;
	}) =>
		`${e.endpoint} has no ${e.what} for ${e.name}. Check how it is written${e.token ? " and that your token may read it" : "; if it is private, set HF_TOKEN to a token that may read it"}.`,
	HUB_DENIED: (e: {
		name: string;
		page: string;
		status: number;
		gated: boolean;
		token: boolean;
	}) =>
		e.gated
			? `${e.name} is gated: its owners want you to accept their terms${e.token ? ", and the account of your token has not been given access" : ""}. Accept them on ${e.page}${e.token ? " with that account" : ", then set HF_TOKEN to a token of that account"} and run the command again.`
			: `${e.page} answered ${e.status}: access denied${e.token ? " with the token given. Check HF_TOKEN, or log in again" : ". If the model is private, set HF_TOKEN to a token that may read it; else ask whoever runs the proxy or mirror"}.`,
	HUB_SETTING: (e: { variable: string; problem: string }) =>
		`${e.variable} cannot be used: ${e.problem}. Correct or unset it, then run the command again.`,
	HUB_REPLY: (e: { url: string; problem: string }) =>
		`${e.url} does not answer as a model hub does: ${e.problem}. Check HF_ENDPOINT and whether a proxy or login page stands in between.`,
	HUB_CHECKSUM: (e: { url: string; wanted: string; found: string }) =>
		`What came from ${e.url} is not the file that the hub lists: ${e.wanted} is listed, ${e.found} came. It was deleted; run the same command again. If it stays so, do not trust that mirror or proxy.`,
	HUB_NO_SAFETENSORS: (e: { name: string; found: readonly string[] }) =>
		`${e.name} has no model.safetensors${e.found.length > 0 ? ` (its weights are ${e.found.join(", ")})` : ""}. Weights in several files are not read, and pickles, which can run code, are never loaded. Use another repository or revision of the model, or convert it on a machine you trust (transformers: model.save_pretrained("DIR")) and run "keepsight backbone import DIR".`,
	BATCH_TOO_SMALL: (e: { images: number; parts: number }) =>
		`A step has ${e.images} image${e.images === 1 ? "" : "s"}, but the strategy needs ${e.parts + 1}: one of the current task and ${e.parts} of earlier ones. Raise train.batch_size.`,
	TRAINABLE_TOO_MANY: (e: { last: number; depth: number }) =>
		`trainable: { last: ${e.last} } asks for more than the backbone has below its last block: it has ${e.depth} blocks in all. Use last: 1 to ${e.depth - 1}, or trainable: all to train the patch embedding as well.`,
	MAPS_AMONG_PICTURES: (e: { dir: string }) =>
		`--maps ${e.dir} is the data root: the maps' pictures would replace the test images. Give another folder.`,
	MAPS_AMONG_INPUTS: (e: { dir: string; path: string }) =>
		`--maps ${e.dir} and the pictures to be scored (${e.path}) lie one within the other: maps would replace pictures, or be scored themselves the next time. Give another folder.`,
	INPUT_MISSING: (e: { input: string; problem: string }) =>
		`Nothing to score at ${JSON.stringify(e.input)}: ${e.problem}. Give pictures (PNG, JPEG, BMP, TIFF, WebP), folders of them, or patterns such as "parts/**/*.png".`,
	QUALIFY_LAYOUT: (e: { dir: string; flag: string; problem: string }) =>
		`${JSON.stringify(e.dir)} cannot be used for ${e.flag}: ${e.problem}. --labelled DIR holds good/ and one folder for every kind of defect (or test/ with these), --gauge DIR one folder for every part with all pictures of that part, --good DIR pictures of good parts.`,
	PICTURES_LEARNT: (e: { paths: readonly string[] }) =>
		`${e.paths.length === 1 ? "1 picture" : `${e.paths.length} pictures`} that the product was learnt from or calibrated with ${e.paths.length === 1 ? "is" : "are"} among those it is to be qualified with, first ${JSON.stringify(e.paths[0])}: what was learnt scores lower than anything new will, and what set the scale cannot test it. Take them out, and give pictures that were not learnt.`,
	NO_PLACE_FOR_DISC: (e: { path: string; diameter: number }) =>
		`There is no place for a disc of ${e.diameter} px in ${e.path}. Give smaller ones with --diameters, or paint more white in --roi.`,
	NO_MAPS: (e: { dir: string }) =>
		`no memory of this run knows where an anomaly is, so there are no maps for ${e.dir}. Learn with the patch memory, for example memory: [{ name: patches }], or leave --maps out.`,
	ROI_EMPTY: (e: { id: string; path: string }) =>
		`${e.path}, the region of interest of ${e.id}, leaves nothing to look at: no patch is white by half. Paint white where parts are to be inspected.`,
	BLOCKS_TRAINED: (e: { block: number; depth: number; first: number }) =>
		`memory.blocks names block ${e.block} of ${e.depth}, and trainable lets training change block ${e.first} and all above: stored patches would go stale. ${e.first === 1 ? "Train fewer blocks (trainable: { last: k })" : `Name blocks up to ${e.first - 1} (as a fraction of the depth at most ${Math.floor(((e.first - 1) / e.depth) * 100) / 100}), or train fewer (a smaller trainable.last)`}.`,
	BLOCKS_DIFFER: (e: { first: readonly number[]; other: readonly number[] }) =>
		`Two memories read patches after other blocks (${e.first.map((b) => b + 1).join(", ")} and ${e.other.map((b) => b + 1).join(", ")}), and only one choice is looked at. Give all of them in \`memory\` the same \`blocks\`.`,
	REVIEW_INVALID: (e: { file: string; line: number; problem: string }) =>
		`${e.file}, line ${e.line}: ${e.problem}. Write yes or no into \`keep\` of every row and run the command again, or delete the file for a new review.`,
	RUN_UNFINISHED: (e: { dir: string; tasks: readonly string[] }) =>
		`${e.dir} is a run of train that has not ended (${e.tasks.join(", ")}), and no change may come between its tasks. Finish it with \`keepsight train --resume\` first.`,
	RUN_CHANGED: (e: { dir: string; task: string }) =>
		`${e.dir} holds ${JSON.stringify(e.task)} where this run's tasks would be others: it was changed by learn, forget or rollback since, and train cannot go on there, not even with --force. Learn further products with \`keepsight learn\`, or start anew under another name.`,
	TASK_KNOWN: (e: { task: string; dir: string }) =>
		`${JSON.stringify(e.task)} is learnt already in ${e.dir}. Give more good images of it with --add, or learn it anew after \`keepsight forget --task NAME\`.`,
	TASK_NAME: (e: { task: string }) =>
		`${JSON.stringify(e.task)} cannot be a product's name. Use 1 to 120 characters without control characters and without blanks at the ends, such as "line-2/bottle"; "." and ".." are no parts of a name.`,
	TOO_FEW_IMAGES: (e: { dir: string; images: number; fewest: number }) =>
		`${e.dir} holds ${e.images} good ${e.images === 1 ? "image" : "images"}, and a product needs at least ${e.fewest}. Add more; with 100, a false-alarm rate of 1 in 100 is measured instead of extrapolated.`,
	TASK_OF_SEVERAL: (e: { task: string; categories: readonly string[] }) =>
		`${e.task} is several categories (${e.categories.join(", ")}), and images can only be added to one. Learn the category as a task of its own.`,
	ADD_NEEDS_VIEWS: (e: { task: string }) =>
		`Images cannot be added to ${e.task}: a memory of this run learns augmented views of the training (dne with form: paper), which are made while a task is learnt. Use form: routed, or learn the task anew with all its images.`,
	NEEDS_ALL_IMAGES: (e: { strategy: string }) =>
		`Strategy ${e.strategy} trains on the images of all products at once, so none can be added later. Learn with another strategy, or run \`keepsight train\` on all of them.`,
	VERSION_PRESENT: (e: { dir: string; version: number }) =>
		`${e.dir} is at version ${e.version} already. keepsight tasks --mem_dir DIR lists the earlier ones.`,
	VERSION_UNKNOWN: (e: {
		dir: string;
		/** null: any before the present one. */
		version: number | null;
		known: readonly number[];
	}) =>
		`${e.dir} keeps no ${e.version === null ? "earlier version" : `version ${e.version}`}. ${e.known.length > 0 ? `It keeps ${e.known.join(", ")}` : "It keeps none but the present one"}; keepsight tasks --mem_dir DIR lists them.`,
	SETUP_DIFFERS: (e: { dir: string; differences: readonly string[] }) =>
		`${e.dir} was learnt with another setup: ${e.differences.join("; ")}. What a memory is made of cannot change in the middle, not even with --force. Use the earlier setting, another run name, or --fresh.`,
	IMAGE_SIZE_NOT_MULTIPLE: (e: {
		imageSize: readonly number[];
		patch: number;
	}) =>
		`image_size ${shape(e.imageSize)} is not a multiple of the backbone's patch of ${e.patch} px. Use ${e.imageSize.map((s) => Math.max(e.patch, Math.round(s / e.patch) * e.patch)).join(" x ")}.`,
	// distillation
	PICTURES_MISSING: (e: { dirs: readonly string[]; found: number }) =>
		`${e.dirs.join(", ")}: ${e.found} usable pictures, and at least 2 are needed, one of them to validate on. Give --images folders of PNG, JPEG, BMP, TIFF or WebP files; thousands of varied ones teach best.`,
	POOL_DIFFERS: (e: { dir: string; keys: readonly string[] }) =>
		`The pool of crops in ${e.dir} was drawn with other settings (${e.keys.join(", ")}). Use those, or give another folder with --pool.`,
	DISTILL_EXISTS: (e: { dir: string }) =>
		`${e.dir} already holds a student. Continue it with --resume, replace it with --fresh, or choose another folder with --out.`,
	DISTILL_FOREIGN: (e: { dir: string; file: string }) =>
		`${e.dir} holds a ${e.file} that no distillation wrote, and a student would replace it. Choose an empty folder with --out.`,
	DISTILL_DIFFERS: (e: { dir: string; keys: readonly string[] }) =>
		`The student in ${e.dir} was begun with other settings (${e.keys.join(", ")}). Use those, start over with --fresh, or train its weights on into another folder with --from ${e.dir} --out DIR.`,
	STUDENT_TOO_SHALLOW: (e: { depth: number; least: number }) =>
		`A student of ${e.depth} blocks has no block for its patches: the last is the class token's. Give --depth of at least ${e.least}.`,
	STUDENT_NO_PART: (e: { why: string }) =>
		`This student cannot begin as a part of its teacher: ${e.why}. Give it another shape, or --from random.`,
	CROPS_TOO_FEW: (e: { crops: number; batchSize: number }) =>
		`--crops ${e.crops} is less than a step takes (--batch-size ${e.batchSize}). Raise the one or lower the other.`,
	DISTILL_NOT_FINITE: (e: { step: number; value: number }) =>
		`The loss became ${e.value} in step ${e.step}; the student after the last saved step is kept. Lower --lr and start over with --fresh.`,
	DEVICE_UNUSABLE: (e: { device: string; reason: string; remedy: string }) =>
		`Cannot compute on device ${e.device}: ${e.reason}. ${e.remedy} Or set device: cpu, or device: auto to use whatever works.`,
	// engine
	SHAPE_MISMATCH: (e: {
		op: string;
		shapes: readonly (readonly number[])[];
		hint: string;
	}) =>
		`${e.op}: shapes do not fit: ${e.shapes.map(shape).join(" x ")}. ${e.hint}`,
	NOT_DIFFERENTIABLE: (e: { op: string }) =>
		`The operator ${e.op} has no gradient. Give it a gradient rule in src/engine/ops/ or keep it out of the loss.`,
	EXPORT_UNSUPPORTED: (e: { memory: string }) =>
		`The memory "${e.memory}" of this run cannot be expressed as a graph, so the run cannot be exported. Score with \`keepsight predict\`, or learn without that memory.`,
	EXPORT_FOLDER_TAKEN: (e: { dir: string; names: readonly string[] }) =>
		`${e.dir} holds something else than an export (${e.names.slice(0, 5).join(", ")}${e.names.length > 5 ? ", ..." : ""}), so it is left alone. Give --out an empty folder or a new one.`,
	EXPORT_MISSING: (e: { dir: string }) =>
		`${e.dir} holds no export (no manifest.json). Check --verify, or make one with "keepsight export --mem_dir DIR --out ${e.dir}".`,
	GRAPH_TOO_LARGE: (e: { bytes: number }) =>
		`The graph has ${e.bytes} bytes, and an ONNX file holds 2 GiB at most. Export one product at a time with --task, or learn with smaller banks (bytes_per_task).`,
	NOT_FINITE: (e: {
		what: string;
		task: string;
		epoch: number;
		step: number;
		value: number;
	}) =>
		`The ${e.what} became ${e.value} in task ${e.task}, epoch ${e.epoch}, step ${e.step}; training stopped and the state after the last finished epoch is kept. Lower train.optimizer.lr or set train.clip_norm, then run with --resume --force or --fresh.`,
	STRATEGY_INVALID: (e: { hook: string; problem: string }) =>
		`The strategy's \`${e.hook}\` ${e.problem}. Mend the strategy; what each hook is to give is in docs/add-your-own-strategy.md.`,
	// linear algebra, metrics
	MATRIX_NOT_FINITE: (e: { value: number }) =>
		`A matrix to be decomposed holds ${e.value}. Look for the step before that made it: a sum that overflowed, or activations that are not finite.`,
	SCORE_NOT_A_NUMBER: (e: { index: number; count: number }) =>
		`Score ${e.index + 1} of ${e.count} is not a number. Every score must be a number (infinities are allowed); look at the score column of that row.`,
	LABEL_NOT_BINARY: (e: { index: number; count: number; value: number }) =>
		`Label ${e.index + 1} of ${e.count} is ${e.value}. Labels are 0 (good) or 1 (anomalous).`,
	MAP_NOT_A_NUMBER: (e: { id: string; row: number; column: number }) =>
		`The anomaly map of ${e.id} is not a number at row ${e.row}, column ${e.column} (from 0). Every pixel must be a number (infinities are allowed); make that map again.`,
	MASK_SIZE_DIFFERS: (e: {
		id: string;
		mask: readonly number[];
		map: readonly number[];
	}) =>
		`The ground truth of ${e.id} has ${e.mask[1]} x ${e.mask[0]} pixels, its anomaly map ${e.map[1]} x ${e.map[0]}. Both must have the size of the image: save the mask, or a map of your own, at that size.`,
	MASK_VALUE_UNKNOWN: (e: {
		id: string;
		value: number;
		file: string;
		known: readonly number[];
	}) =>
		`The ground truth of ${e.id} has pixels of value ${e.value}, which ${e.file} does not list (it lists ${e.known.join(", ")}). Add the defect there, or correct the mask.`,
	LENGTHS_DIFFER: (e: { what: string; lengths: readonly number[] }) =>
		`${e.what} differ in number: ${e.lengths.join(", ")}. Give one of each for every image.`,
	// memory, calibration
	CATEGORY_NOT_LEARNT: (e: { id: string; known: readonly string[] }) =>
		`The memory holds no "${e.id}". ${e.known.length > 0 ? `It holds: ${e.known.join(", ")}.` : "It is empty: learn a product first."}`,
	CATEGORY_ALREADY_LEARNT: (e: { id: string }) =>
		`The memory already holds "${e.id}". Add images to it with learn --add, or forget it first.`,
	FEATURES_UNUSABLE: (e: { id: string; problem: string }) =>
		`The features of ${e.id} cannot be used: ${e.problem}.`,
	MEMORY_DAMAGED: (e: { id: string; tensor: string; problem: string }) =>
		`The stored memory of ${e.id} cannot be read: tensor "${e.tensor}" ${e.problem}. Roll back to an earlier memory version or learn ${e.id} again.`,
	THRESHOLD_UNUSABLE: (e: { score: number }) =>
		`${e.score} is no threshold. Give a score of at least 0, such as 2: what one good part in 100 exceeds.`,
	FALSE_ALARMS_OUT_OF_RANGE: (e: { value: number }) =>
		`A false-alarm rate of ${e.value} is impossible. Give a number between 0 and 1, such as 0.01 for one good part in 100.`,
	// queue
	REDIS_UNUSABLE: (e: { name: string; problem: string }) =>
		`Cannot use the Redis at ${e.name}: ${e.problem}. Check --redis and that server.`,
	JOB_REFUSED: (e: { problem: string }) =>
		`A job of the queue was refused: ${e.problem}. Nothing was run for it.`,
	WORKER_UNFIT: (e: { problem: string; remedy: string }) =>
		`This worker hands a job back that it cannot take: ${e.problem}. ${e.remedy}`,
	STORE_UNUSABLE: (e: { store: string; problem: string }) =>
		`Cannot use the store ${e.store}: ${e.problem}. Check --store, its address and the credentials in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY); what was computed stays in its run folder.`,
	PATH_NOT_SHARED: (e: { where: string; path: string }) =>
		`${e.where} is ${JSON.stringify(e.path)}, which other machines cannot find. With --redis, start here and there in the shared folder, and give paths that are relative to it and stay below it.`,
	SHARD_FAILED: (e: { images: number; first: string; reason: string }) =>
		`${e.images} images from ${e.first} on could not be scored by any worker, all others were: ${e.reason}`,
	// server
	TOKEN_NEEDED: (e: { host: string }) =>
		`Listening on ${e.host} opens the server to other machines, so it needs a token: set the environment variable KEEPSIGHT_TOKEN to at least 16 characters, or listen on 127.0.0.1.`,
	ADDRESS_UNUSABLE: (e: { host: string; port: number; code: string }) =>
		`Cannot listen on ${e.host}, port ${e.port}: ${e.code === "EADDRINUSE" ? "another program does" : e.code === "EACCES" ? "it is not permitted" : `the system reports ${e.code}`}. Give another --port or --host.`,
	HISTORY_UNUSABLE: (e: {
		path: string;
		problem: string;
		/** What to do where the file is whole. */
		remedy?: string | undefined;
	}) =>
		`Cannot use the history in ${e.path}: ${e.problem}. ${e.remedy ?? "Move that file away to begin a new one, or restore it from a copy"}.`,
	SERVER_BUSY: (e: { what: string }) =>
		`${e.what}. Send it again after the seconds in Retry-After.`,
	REQUEST_TIMED_OUT: (e: { seconds: number }) =>
		`The picture was not scored within ${e.seconds} s. Send it again, or start the server with more --workers or a longer --timeout.`,
	NOT_FOUND: (e: { what: string }) =>
		`There is no ${e.what}. /openapi.json lists what can be asked.`,
	NOT_NOW: (e: { what: string; state: string }) => `${e.what}: ${e.state}.`,
	REQUEST_INVALID: (e: { problem: string }) =>
		`The request cannot be used: ${e.problem}. /openapi.json describes what is expected.`,
	BODY_TOO_LARGE: (e: { limit: number }) =>
		`The body is larger than this server takes. Send one picture of at most ${e.limit >> 20} MB.`,
	MEDIA_TYPE: (e: { found: string }) =>
		`A body of type ${JSON.stringify(e.found)} is not read here. Send the bytes of a PNG, JPEG, WebP, BMP or TIFF picture with its content type, or a form (multipart/form-data) with one such file; JSON where JSON is asked for.`,
	TOKEN_WRONG: (e: { given: boolean }) =>
		`This server wants ${e.given ? "another" : "a"} token: send it as Authorization: Bearer TOKEN.`,
	ORIGIN_REFUSED: (e: { what: string }) =>
		`Refused: ${e.what} is not this server. Pages of other sites may not use it; name further hosts with --allow-host.`,
	REPLICA: (e: { writer: string | null }) =>
		`This server only scores: it is a replica. Ask ${e.writer ?? "the server of this memory that was started without --replica"} for changes, feedback and jobs.`,
	TOO_MANY_REQUESTS: (e: { seconds: number }) =>
		`Too many requests from this address. Try again in ${e.seconds} s, or start the server with a higher --rate.`,
	// storage, run folder, safetensors, score files
	CANNOT_WRITE: (e: { path: string; code: string }) =>
		`Could not write ${e.path}: ${reasons[e.code] ?? `the system reports ${e.code}. Check the disk and the path`}. No file is half-written: what was stored before is intact.`,
	CANNOT_READ: (e: { path: string; code: string }) =>
		`Could not read ${e.path}: ${nameless(e) ?? reasons[e.code] ?? `the system reports ${e.code}. Check the disk and the path`}.`,
	UNSAFE_PATH: (e: { path: string; where: string }) =>
		`Refused the file name ${JSON.stringify(e.path)} in ${e.where}: stored files have relative names of letters, digits and ._+%@=~-, parted by "/", without "..". The manifest may have been tampered with: use a copy from a source you trust.`,
	FORMAT_VERSION: (e: { path: string; found: unknown; known: number }) =>
		`${e.path} has format version ${JSON.stringify(e.found) ?? "none"}; this Keepsight reads version ${e.known}. Use the Keepsight version that wrote it, or begin anew in another folder.`,
	DAMAGED: (e: {
		path: string;
		problem: string;
		/** A version that was kept and does not need the file. */
		earlier?: number | undefined;
		/** What to do without a copy, where it is not to learn again. */
		remedy?: string | undefined;
	}) =>
		`${e.path} is damaged: ${e.problem}. Restore it from a copy, or ${e.remedy ?? (e.earlier === undefined ? `learn again with "keepsight train --config FILE --fresh"` : `go back to version ${e.earlier}, which does not need it: keepsight rollback --mem_dir DIR --to ${e.earlier}`)}.`,
	FILE_CHANGED_IN_PLACE: (e: { path: string; dir: string }) =>
		`${e.path} is already part of the stored version in ${e.dir} and has other bytes. Stored files are never changed in place: give the new content a new name (hashedName).`,
	FOLDER_CHANGED: (e: { dir: string; opened: number; now: number }) =>
		`${e.dir} went from version ${e.opened} to ${e.now} while it was in use: another process wrote to it. Run the command again.`,
	LOCKED: (e: { dir: string; owner: string; lock: string }) =>
		`${e.dir} is in use by ${e.owner}. Wait until it has finished, or stop it; if you are sure that it no longer runs, delete ${e.lock} and start again.`,
	LOCK_LOST: (e: { dir: string; owner: string }) =>
		`${e.dir} was taken over by ${e.owner} while this process was using it; this process stopped writing. Run only one at a time on a folder, then start again with --resume.`,
	LOCK_THREAD: (e: { dir: string; code: string }) =>
		`${e.dir} was not locked: no thread could be started to show others that this process lives (${e.code}). Raise the limit of threads (\`ulimit -u\`, a container's limit of processes) or end other processes, then start again.`,
	RUN_EXISTS: (e: { dir: string }) =>
		`${e.dir} already holds a run. Continue it with --resume, replace it with --fresh, or choose another folder with --out or name.`,
	RUN_MISSING: (e: { dir: string }) =>
		`${e.dir} holds no run (no run.json). Check --mem_dir, or make one with "keepsight learn" or "keepsight train --config FILE".`,
	RUN_FOREIGN: (e: { dir: string; names: readonly string[]; fresh: boolean }) =>
		`${e.dir} holds files but no run.json (${e.names.slice(0, 5).join(", ")}${e.names.length > 5 ? ", ..." : ""}). ${e.fresh ? "--fresh deletes only what Keepsight wrote. Choose" : "Replace what an unfinished train left with --fresh, or choose"} an empty folder: learn with --mem_dir, train with --out or name.`,
	RUN_DIFFERS: (e: { dir: string; differences: readonly string[] }) =>
		`The run in ${e.dir} was started with other settings:\n${e.differences.map((d) => `  ${d}`).join("\n")}\nUse the settings it was started with, start over with --fresh, or go on regardless with --resume --force (recorded in run.json).`,
	SAFETENSORS_INVALID: (e: { file: string; problem: string }) =>
		`${e.file} is not a valid safetensors file: ${e.problem}. Copy or download it again; if it stays so, ask whoever made it.`,
	SCORES_INVALID: (e: { file: string; line: number; problem: string }) =>
		`${e.file}, line ${e.line}: ${e.problem}. A score file is CSV with a header: columns label (0 or 1) and score, and optionally path, defect, threshold, routed, in any order.`,
	SCORES_MISSING: (e: { dir: string; problem: string }) =>
		`No usable score files in ${e.dir}: ${e.problem}. Expected <dataset>.<category>.csv files, or folders after-01, after-02, ... of them.`,
	// data
	IMAGE_UNREADABLE: (e: { path: string; reason: string }) =>
		`Cannot read the image ${e.path}: ${e.reason}. Replace or remove it; \`keepsight data check DIR\` lists every such file.`,
	IMAGE_TOO_LARGE: (e: {
		path: string;
		width: number;
		height: number;
		limit: number;
	}) =>
		`The image ${e.path} has ${e.width} x ${e.height} pixels, more than the ${e.limit / 1e6} million that are read. Store it smaller; \`keepsight data check DIR\` lists every such file.`,
	DATA_ROOT_MISSING: (e: { root: string }) =>
		`There is no data folder ${e.root}. Expected is <root>/<dataset>/<category>/train/good/*.png, for example mvtec/bottle or loco/juice_bottle. Check the path (data.root of a configuration), or draw the demo line with \`keepsight data demo ${e.root}\`.`,
	DATA_UNKNOWN_CATEGORY: (e: {
		name: string;
		root: string;
		known: readonly string[];
	}) => {
		const near = nearest(e.name, e.known);
		return `No category "${e.name}" in ${e.root}.${near ? ` Did you mean "${near}"?` : ""} ${e.known.length > 0 ? `Found: ${e.known.join(", ")}.` : "No category was found there: each is a folder with train/good, or a folder of good images."}`;
	},
	DATA_BAD_CATEGORY: (e: { name: string }) =>
		`"${e.name}" cannot name a category. Write it relative to data.root with forward slashes, such as mvtec/bottle; "*" stands for every name at that place.`,
	DATA_CATEGORY_TWICE: (e: { name: string; first: string; second: string }) =>
		`The category ${e.name} is in data.tasks twice, through "${e.first}" and "${e.second}". Name it once: a category belongs to one task.`,
	DATA_NO_GOOD_IMAGES: (e: { category: string; dir: string }) =>
		`The category ${e.category} has no good training images: ${e.dir} is missing or holds no PNG, JPEG, BMP, TIFF or WebP file. Put images of good parts directly there: folders in it are not looked into.`,
	DATA_EMPTY_CLASS: (e: { dir: string }) =>
		`The folder ${e.dir} holds no images. Put its images back or delete the folder.`,
	DATA_LINK_OUTSIDE: (e: { path: string; target: string; root: string }) =>
		`${e.path} is a link to ${e.target}, outside the data folder ${e.root}. Copy the files into it, or set data.follow_links to true if you trust this data.`,
	DATA_BAD_DEFECTS_CONFIG: (e: { path: string; reason: string }) =>
		`${e.path} is not a valid defects_config.json: ${e.reason}. It is a list of { defect_name, pixel_value, saturation_threshold, relative_saturation } as MVTec LOCO AD ships it.`,
	MAP_UNUSABLE: (e: { path: string; problem: string }) =>
		`Cannot use the anomaly map ${e.path}: ${e.problem}. A map is a TIFF of one channel in 32-bit floats, as large as its image; one for every test image, at <folder>/<dataset>/<category>/test/<type>/<name>.tiff.`,
	BENCHMARK_DIFFERS: (e: { dir: string; differences: readonly string[] }) =>
		`${e.dir} holds a benchmark with another ${e.differences.join(", ")}. Give another --out, or the same --products, --seed, --config and --set.`,
	DEMO_FOLDER_TAKEN: (e: { dir: string }) =>
		`${e.dir} exists and was not drawn by Keepsight's demo, so it is left alone. Choose another folder.`,
	DEMO_BAD_OPTION: (e: { name: string; value: number; allowed: string }) =>
		`The demo line cannot be drawn with ${e.name} = ${e.value}. Give ${e.allowed}.`,
	// pretext, augmentation
	PRETEXT_NO_CHANGE: (e: {
		pretext: string;
		draws: number;
		background: boolean;
	}) =>
		`${e.pretext}: ${e.draws} patches in a row changed the image by at most 1 grey level${e.background ? " or met no foreground" : ""}. Take blank images out of the training data${e.background ? ", check pretext.background (its grey value and tolerance)" : ""} or use the pretext task cutpaste.`,
} as const;

/** Stable codes of what a user can mend (docs/errors.md). */
export type ErrorCode = keyof typeof wording;

/** The error of the given code. Throw what it returns: `throw fail("UNKNOWN_NAME", {...})`. */
export function fail<C extends ErrorCode>(
	code: C,
	details: Parameters<(typeof wording)[C]>[0],
): KeepsightError {
	return new KeepsightError(
		code,
		(wording[code] as (d: unknown) => string)(details),
	);
}

/** A registry's entry, or UNKNOWN_NAME. `where`: the key or file that gave the name. */
export function registered<T>(
	registry: Readonly<Record<string, T>>,
	name: string,
	kind: string,
	where: string,
): T {
	const found = Object.hasOwn(registry, name) ? registry[name] : undefined;
	if (found === undefined)
		throw fail("UNKNOWN_NAME", {
			kind,
			name,
			where,
			known: Object.keys(registry),
		});
	return found;
}

/** All codes, for the test that compares this table with docs/errors.md. */
export const errorCodes = Object.keys(wording) as readonly ErrorCode[];

/** What a schema refuses first, and where: "expected number at tasks.0.id". */
export function firstIssue({
	issues: [first],
}: {
	readonly issues: readonly {
		readonly message: string;
		readonly path: readonly PropertyKey[];
	}[];
}): string {
	const where = first?.path.map(String).join(".") ?? "";
	return `${first?.message ?? "invalid"}${where === "" ? "" : ` at ${where}`}`;
}

/** The known name closest to `name` by Levenshtein distance, if close enough to be a slip of the hand. */
export function nearest(
	name: string,
	known: readonly string[],
): string | undefined {
	let best: string | undefined;
	let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
	for (const candidate of known) {
		if (Math.abs(candidate.length - name.length) >= bestDistance) continue; // a name of a million letters is none
		const d = editDistance(name.toLowerCase(), candidate.toLowerCase());
		if (d < bestDistance) {
			bestDistance = d;
			best = candidate;
		}
	}
	return best;
}

function editDistance(a: string, b: string): number {
	let row = Array.from({ length: b.length + 1 }, (_, j) => j);
	for (let i = 1; i <= a.length; i++) {
		const next = [i];
		for (let j = 1; j <= b.length; j++) {
			next[j] = Math.min(
				(next[j - 1] ?? 0) + 1,
				(row[j] ?? 0) + 1,
				(row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1),
			);
		}
		row = next;
	}
	return row[b.length] ?? 0;
}
