/** Files that were dropped or chosen. */

/** As src/data/image.ts reads them; what a file really is, the server finds from its bytes. */
const endings = /\.(png|jpe?g|bmp|tiff?|webp)$/i;

export const isPicture = (file: File): boolean => endings.test(file.name);

/** All files that were dropped, those of folders and their folders too, by name. */
export async function filesOf(transfer: DataTransfer): Promise<File[]> {
	const entries = [...transfer.items].flatMap((item) => {
		const entry = item.kind === "file" ? item.webkitGetAsEntry() : null;
		return entry ? [entry] : [];
	}); // before the first await: the list is emptied after the event
	const plain = [...transfer.files];
	if (entries.length === 0) return plain;
	const found = (await Promise.all(entries.map(below))).flat();
	return byName(found);
}

export const byName = (files: readonly File[]): File[] =>
	files.toSorted((a, b) => collator.compare(pathOf(a), pathOf(b)));

const collator = new Intl.Collator("en", { numeric: true });
const pathOf = (file: File): string => file.webkitRelativePath || file.name;

async function below(entry: FileSystemEntry): Promise<File[]> {
	if (entry.isFile)
		return [
			await new Promise<File>((resolve, reject) =>
				(entry as FileSystemFileEntry).file(resolve, reject),
			),
		];
	const reader = (entry as FileSystemDirectoryEntry).createReader();
	const files: File[] = [];
	for (;;) {
		// a reader gives at most 100 at a time, and none at the end
		const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
			reader.readEntries(resolve, reject),
		);
		if (some.length === 0) return files;
		files.push(...(await Promise.all(some.map(below))).flat());
	}
}
