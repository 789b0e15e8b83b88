/** What a drawn product is: a family with parameters. Its defects are drawn, never pasted over the photograph. */
import type { Random } from "../../random.ts";
import type { Box, Pose, Scene } from "./scene.ts";

export interface DefectKind {
	readonly name: string;
	readonly kind: "structural" | "logical";
	/** Logical ones: the area in square units from which on it counts as found, where `draw` marks more than what is wrong. */
	readonly saturation?: number;
}

/** What a logical defect concerns, where that is more than the changed pixels: the compartment of a missing part. */
export interface Region {
	readonly box: Box;
	readonly pose: Pose;
}

export interface Product {
	/**
	 * Paints one part. The same `shot` gives the same part with and without a defect, but for the defect, which is drawn by `flaw`:
	 * the mask is where both pictures differ. What is drawn by chance uses `shot.derive(purpose)`, so that nothing shifts the rest.
	 */
	draw(
		scene: Scene,
		shot: Random,
		defect: string | null,
		flaw: Random,
	): Region | undefined;
}

export interface Family {
	readonly name: string;
	readonly layout: "mvtec" | "loco";
	readonly defects: readonly DefectKind[];
	/** `random` null: the standard product. A twin differs from its sibling of the same `random` in one small constant detail. */
	create(random: Random | null, twin: boolean): Product;
}
