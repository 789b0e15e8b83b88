/** Rows by product, in the order of their first appearance. */
export function byTask<T extends { readonly task: string | null }>(
	rows: readonly T[],
): ReadonlyMap<string | null, readonly T[]> {
	const groups = new Map<string | null, T[]>();
	for (const row of rows) {
		const group = groups.get(row.task);
		if (group) group.push(row);
		else groups.set(row.task, [row]);
	}
	return groups;
}
