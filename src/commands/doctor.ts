/** keepsight doctor: what this machine has, what is missing, what to run. */
import { existsSync } from "node:fs";
import { readFile, statfs } from "node:fs/promises";
import { availableParallelism, freemem, totalmem } from "node:os";
import type { Command } from "commander";
import { decodeImage, encodePng, imageEndings } from "../data/image.ts";
import { probe } from "../devices.ts";
import { type DeviceKind, deviceKinds, kindsHere } from "../engine/device.ts";
import { uint8 } from "../engine/tensor.ts";

interface Finding {
	readonly what: string;
	readonly state: "ok" | "note" | "missing";
	readonly detail: string;
	/** What to run or change; null where nothing needs to be. */
	readonly advice: string | null;
}

export function addDoctor(program: Command): void {
	program
		.command("doctor")
		.usage("[--json]")
		.description(
			"what this machine has, what is missing, what to run; exit code 2 if Keepsight cannot work here",
		)
		.option("--json", "print the findings as JSON")
		.action(async (flags: { json?: true }) => {
			const findings = [
				await nodeVersion(),
				machine(),
				...(await Promise.all(kindsHere().reverse().map(device))),
				await images(),
				await disk(),
				demoData(),
			];
			if (flags.json) console.log(JSON.stringify(findings, null, 2));
			else
				for (const f of findings)
					console.log(
						`${f.state.padEnd(8)}${f.what.padEnd(18)}${f.detail}${f.advice === null ? "" : `\n${" ".repeat(26)}${f.advice}`}`,
					);
			if (findings.some((f) => f.state === "missing")) process.exitCode = 2;
		});
}

async function nodeVersion(): Promise<Finding> {
	const { engines } = JSON.parse(
		await readFile(new URL("../../package.json", import.meta.url), "utf8"),
	) as { engines: { node: string } };
	const [have, need] = [
		process.versions.node,
		engines.node.replace(">=", ""),
	].map((v) => v.split(".").map(Number));
	const [major = 0, minor = 0, needMajor = 0, needMinor = 0] = [
		have?.[0],
		have?.[1],
		need?.[0],
		need?.[1],
	];
	const fits = major > needMajor || (major === needMajor && minor >= needMinor);
	return {
		what: "Node.js",
		state: fits ? "ok" : "missing",
		detail: process.version,
		advice: fits ? null : `Install Node.js ${engines.node}.`,
	};
}

function machine(): Finding {
	const [total, free] = [totalmem(), freemem()];
	const enough = total >= 3e9;
	return {
		what: "cores and memory",
		state: enough ? "ok" : "note",
		detail: `${availableParallelism()} cores, ${gigabytes(total)} of memory, ${gigabytes(free)} free`,
		advice: enough
			? null
			: "Training a ViT-S at 224 px wants about 3 GB: lower train.batch_size or image_size.",
	};
}

/** The CPU is needed, the others are offered. */
async function device(kind: DeviceKind): Promise<Finding> {
	const reason = await probe(kind);
	return {
		what: `device ${kind}`,
		state: reason === null ? "ok" : kind === "cpu" ? "missing" : "note",
		detail: reason ?? "onnxruntime-node loads and computes",
		advice: reason === null ? null : deviceKinds[kind].remedy,
	};
}

async function images(): Promise<Finding> {
	const detail = `reads ${imageEndings.map((ending) => ending.slice(1)).join(", ")}`;
	try {
		const { data } = await decodeImage(
			await encodePng(uint8([1, 1, 3], Uint8Array.of(1, 2, 3))),
			"probe.png",
		);
		if (data.join() === "1,2,3")
			return { what: "images (sharp)", state: "ok", detail, advice: null };
		return {
			what: "images (sharp)",
			state: "missing",
			detail: `a pixel 1,2,3 came back as ${data.join()}`,
			advice: "Run `npm ci` again.",
		};
	} catch (error) {
		return {
			what: "images (sharp)",
			state: "missing",
			detail: (error as Error).message,
			advice: "Run `npm ci` again.",
		};
	}
}

async function disk(): Promise<Finding> {
	const { bavail, bsize } = await statfs(".");
	const free = bavail * bsize;
	const enough = free > 1e9;
	return {
		what: "free disk",
		state: enough ? "ok" : "note",
		detail: `${gigabytes(free)} in the current directory`,
		advice: enough
			? null
			: "The demo needs about 1 GB; make room, or give train --out a folder on another disk.",
	};
}

function demoData(): Finding {
	const there = existsSync("demo-data");
	return {
		what: "demo data",
		state: there ? "ok" : "note",
		detail: there ? "demo-data/" : "not drawn yet",
		advice: there
			? null
			: "Run `keepsight data demo demo-data`, or `npm start` in the repository.",
	};
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
