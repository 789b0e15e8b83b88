#!/usr/bin/env node
/** The `keepsight` program. */
import { main } from "./commands/main.ts";

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
	if (error.code !== "EPIPE") throw error; // `keepsight ... | head` closed the pipe: nobody listens any more
	process.exit(0);
});
process.exitCode = (await main(process.argv.slice(2))) ?? process.exitCode;
