/** Which devices this machine can really compute on: asked by a tiny session in a process of its own, which may crash. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { deviceKinds, deviceOf, kindsHere } from "./engine/device.ts";
import { fail } from "./errors.ts";

const PROBE_MS = 60_000;

/** null: a session on this device computes; else why not. */
export function probe(device: string): Promise<string | null> {
	return new Promise((resolve) => {
		const child = spawn(
			process.execPath,
			[fileURLToPath(new URL("./deviceProbe.js", import.meta.url)), device],
			{ timeout: PROBE_MS, killSignal: "SIGKILL" },
		);
		let [out, errors] = ["", ""];
		child.stdout.on("data", (text) => {
			out += String(text);
		});
		child.stderr.on("data", (text) => {
			errors += String(text);
		});
		child.on("error", (error) => resolve(error.message));
		child.on("close", (_, signal) => {
			if (out.endsWith("42")) resolve(null);
			else if (signal !== null) resolve(`its process ended by ${signal}`);
			else resolve(reasonIn(errors) ?? `it answered "${out}"`);
		});
	});
}

/** The line that says what is wrong, of a stack trace and the runtime's own log. */
const reasonIn = (text: string): string | undefined =>
	text
		.split("\n")
		.find((line) => /^\S*Error: /.test(line))
		?.replace(/^\S*Error: /, "")
		.replace(/^\/\S+\.cc:\d+ .*? was false\. /, "")
		.trim();

/**
 * What `device` of a configuration becomes on this machine: the device itself if it works, of "auto" the first that does. `notice` is
 * told what "auto" chose and why not another. Throws DEVICE_UNUSABLE for a device that does not work.
 */
export async function usableDevice(
	wanted: string,
	notice: (text: string) => void,
): Promise<string> {
	if (wanted === "cpu") return wanted;
	if (wanted !== "auto") {
		const reason = await probe(wanted);
		if (reason === null) return wanted;
		const { kind } = deviceOf(wanted);
		throw fail("DEVICE_UNUSABLE", {
			device: wanted,
			reason,
			remedy: deviceKinds[kind].remedy,
		});
	}
	const refused: string[] = [];
	for (const kind of kindsHere()) {
		const reason = kind === "cpu" ? null : await probe(kind);
		if (reason !== null) {
			refused.push(`${kind}: ${reason}`);
			continue;
		}
		notice(
			kind === "cpu"
				? `device: auto found no GPU that works (${refused.join("; ")}), so this runs on the CPU. \`keepsight doctor\` says what each would need.`
				: `device: auto computes on ${kind}.`,
		);
		return kind;
	}
	return "cpu";
}
