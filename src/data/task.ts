/** What a data set is made of. Training sees a LearnTask; only evaluation ever sees a Task with its test images. */
import type { Tensor } from "../engine/tensor.ts";

/** An image: RGB, row-major. */
export type Image = Tensor<"uint8">; // [H, W, 3]

/** One image on the disk; nothing is decoded before `read`. */
export interface Sample {
	/** Path relative to the data root, with forward slashes: what score files and errors name. */
	readonly id: string;
	/** Path on the disk, relative where the data root is. */
	readonly path: string;
	/** null: a good part. */
	readonly defect: string | null;
	readonly kind: "good" | "logical" | "structural" | null;
	/** The whole image resized to [H, W], no crop (cubic, antialiased). */
	read(size: readonly [number, number]): Promise<Image>; // [H, W, 3]
	/** [H, W] of the picture itself: from its header alone, unless it was read already. */
	size(): Promise<readonly [number, number]>;
	/** At the picture's own size, one a defect; `value` is the pixel value that names the defect (255 in MVTec AD). */
	readMasks?(): Promise<
		readonly {
			readonly mask: Tensor<"uint8"> /* [H, W], 0 or 1 */;
			readonly value: number;
		}[]
	>;
}

/** One category of one data set: the unit of score files and of densities. Id such as "mvtec/bottle". */
export interface Category {
	readonly id: string;
	readonly normals: readonly Sample[];
	/** Good images that are never learnt, only calibrated on (LOCO's validation/good). */
	readonly heldOut: readonly Sample[];
	/** A picture, white where to look (the region of interest); everywhere without one. */
	readonly roi?: string;
}

/** What a strategy learns as one step of the sequence: one category, or several (id "mvtec/a+mvtec/b"). */
export interface LearnTask {
	readonly id: string;
	readonly categories: readonly Category[];
}

export interface TestCategory extends Category {
	/** Its folder on disk. */
	readonly dir: string;
	readonly test: readonly Sample[];
	/** How image AUROC is formed: LOCO's official mean of logical and structural where both exist. */
	readonly layout: "mvtec" | "loco" | "folder";
}

export interface Task extends LearnTask {
	readonly categories: readonly TestCategory[];
}

/** How a category is read. */
export interface ReadOptions {
	/** The data root: ids are relative to it, links that lead out of it are refused. Default: the category's own folder. */
	readonly root?: string;
	/** Follow links that lead out of the root. Default false. */
	readonly followLinks?: boolean;
	/** At most so many normals of a category, spread evenly over its files. Default: all. */
	readonly limit?: number | null;
	/** Category -> picture, white where to look. */
	readonly roi?: Readonly<Record<string, string>>;
}

/** A layout of data on the disk. */
export interface DatasetReader {
	readonly title: string;
	readonly layout: TestCategory["layout"];
	/** Whether this directory is one category in this layout. */
	matches(dir: string): Promise<boolean>;
	/** What learning may see; never looks at test images, masks or labels. */
	readNormals(
		dir: string,
		id: string,
		options?: ReadOptions,
	): Promise<Category>;
	/** The test images; none where the test folder is missing. */
	readTest(
		dir: string,
		id: string,
		options?: ReadOptions,
	): Promise<readonly Sample[]>;
}

/** Of a task by its id, "mvtec/a+mvtec/b": a product's own name may have a + too, but no /. */
export const categoriesOf = (task: string): readonly string[] =>
	task.split(/\+(?=[^/+]+\/)/);
