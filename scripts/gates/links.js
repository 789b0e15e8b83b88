/** Every link of every Markdown page leads somewhere, and every page of docs/ can be found from README.md. No network is asked. */
import { existsSync } from "node:fs";
import { join, posix } from "node:path";
import { root } from "../project.js";
import { pages, readPage } from "./markdown.js";

/** `read`: path of a page -> what readMarkdown says of it. `exists(path)`: of anything in the repository. */
export function linkProblems(read, exists) {
	const problems = [];
	const leads = new Map(); // page -> pages and folders it names
	for (const [path, page] of read) {
		const targets = [];
		leads.set(path, targets);
		for (const { target, line } of page.links) {
			const where = `${path}:${line}: ${target}`;
			if (/^[a-z][a-z0-9+.-]*:/i.test(target)) {
				if (!/^(https?:\/\/[\w.-]+\S*|mailto:\S+@\S+)$/.test(target))
					problems.push(
						`${where} is no address. Write https://HOST/..., or a path of this repository.`,
					);
				continue;
			}
			const [file, anchor] = target.split("#");
			const to =
				file === ""
					? path
					: posix
							.join(posix.dirname(path), decodeURIComponent(file))
							.replace(/\/$/, "");
			if (to.startsWith("..") || to.startsWith("/") || !exists(to)) {
				problems.push(`${where} does not exist. Mend the path.`);
				continue;
			}
			targets.push(to);
			if (anchor === undefined) continue;
			if (!read.get(to)?.anchors.has(decodeURIComponent(anchor)))
				problems.push(
					`${where}: ${to} has no heading of that name. Its anchors: ${[...(read.get(to)?.anchors ?? [])].join(", ") || "none"}.`,
				);
		}
	}
	const reached = new Set(["README.md"]);
	for (const path of reached)
		for (const to of leads.get(path) ?? [])
			for (const page of read.keys())
				if (page === to || posix.dirname(page) === to) reached.add(page);
	for (const path of read.keys())
		if (path.startsWith("docs/") && !reached.has(path))
			problems.push(
				`${path} cannot be reached from README.md. Link to it, or to its folder, from README.md or a page that is reached.`,
			);
	return problems;
}

export const links = {
	title: "links",
	run() {
		const read = new Map(pages().map((path) => [path, readPage(path)]));
		const exists = (path) => existsSync(join(root, path));
		const count = [...read.values()].reduce(
			(n, { links }) => n + links.length,
			0,
		);
		return {
			problems: linkProblems(read, exists),
			note: `${count} on ${read.size} pages`,
		};
	},
};
