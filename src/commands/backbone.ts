/** keepsight backbone: pretrained weights. */
import type { Command } from "commander";
import { addDistill } from "./distill.ts";

export function addBackbone(program: Command): void {
	const backbone = program
		.command("backbone")
		.description("make and look at pretrained weights");
	addDistill(backbone);
}
