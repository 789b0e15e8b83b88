/** keepsight report: one run as one page that needs nothing else. */
import type { Command } from "commander";
import { fail } from "../errors.ts";
import type { RunEvent } from "../events.ts";
import { openRun } from "../run.ts";
import { createProgress } from "./progress.ts";

interface ReportFlags {
	readonly memDir?: string;
	readonly json?: true;
}

export function addReport(program: Command): void {
	program
		.command("report")
		.usage("--mem_dir DIR [--json]")
		.description(
			"write report.html into a run folder: metrics, charts and pictures on one page that needs no network; the charts also as SVG files",
		)
		.option(
			"--mem-dir <dir>",
			"an evaluated run folder, or a copy of one (also --mem_dir)",
		)
		.option("--json", "print what was written as JSON")
		.action(report);
}

async function report({ memDir, json }: ReportFlags): Promise<void> {
	if (memDir === undefined)
		throw fail("USAGE", {
			problem: "Give --mem_dir DIR (a run folder).",
			command: "keepsight report",
		});
	const { onEvent } = createProgress({ color: true });
	const written = await writeReport(memDir, onEvent);
	console.log(
		json
			? JSON.stringify(written, null, 2)
			: `${written.report}: ${written.categories} categories, ${written.pictures} pictures, ${written.charts} charts, ${(written.bytes / 1e6).toFixed(1)} MB. Open it in a browser.`,
	);
}

/** Writes report.html and the charts of an evaluated run folder. */
export async function writeReport(
	dir: string,
	onEvent: (event: RunEvent) => void,
) {
	const run = openRun(dir, "update", undefined, {
		notice: (text) => onEvent({ type: "notice", text }),
	});
	try {
		const { readReportData, renderReport } = await import(
			"../reports/report.ts" // .4 s that other commands need not wait
		);
		const data = await readReportData(run);
		const { html, charts } = renderReport(data);
		for (const { name, svg } of charts)
			run.writeVisualization(`charts/${name}.svg`, svg);
		return {
			report: run.writeReport(html),
			bytes: Buffer.byteLength(html),
			categories: data.categories.length,
			pictures: data.gallery.categories.reduce(
				(sum, { pictures }) => sum + pictures.length,
				0,
			),
			charts: charts.length,
		};
	} finally {
		run.close();
	}
}
