/** JSON Schema in words: what a value may be. */
import { code } from "./markdown.js";

/** An integer without a bound of its own has that of JavaScript. */
const bounded = (n) => n !== undefined && Math.abs(n) < Number.MAX_SAFE_INTEGER;

/** Those of a registry: { name, ...options } each. */
export const entriesOf = (node) => node.oneOf ?? node.items?.oneOf;

/** What a key takes, in words: `number, above 0`. */
export function takes(node) {
	if (node.const !== undefined) return code(yaml(node.const));
	if (node.enum) return node.enum.map((value) => code(value)).join(", ");
	const among = node.anyOf ?? node.oneOf;
	if (among)
		return entriesOf(node) && node.oneOf?.[0]?.properties?.name
			? "see there"
			: [...new Set(among.map(takes))].join(", or ");
	if (Array.isArray(node.type)) return node.type.map(wordFor).join(" or ");
	if (node.prefixItems) return `[${node.prefixItems.map(takes).join(", ")}]`;
	if (node.type === "array")
		return `${node.minItems > 0 ? "non-empty " : ""}list of ${plural(node.items)}`;
	if (node.type === "object")
		return node.properties
			? `{ ${Object.keys(node.properties).join(", ")} }`
			: `keys with ${takes(node.additionalProperties)} each`;
	return `${wordFor(node.type)}${limits(node)}`;
}

const plural = (items) =>
	items === undefined || Object.keys(items).length === 0
		? "values"
		: items.oneOf?.[0]?.properties?.name
			? "entries"
			: items.properties
				? takes(items)
				: items.anyOf
					? `(${takes(items)})`
					: takes(items);

const wordFor = (type) =>
	({
		integer: "whole number",
		boolean: "`true` or `false`",
		string: "text",
		null: "`null`",
		undefined: "any value",
	})[type] ?? type;

function limits(node) {
	const least = bounded(node.minimum)
		? ` from ${node.minimum}`
		: bounded(node.exclusiveMinimum)
			? ` above ${node.exclusiveMinimum}`
			: "";
	const most = bounded(node.maximum)
		? ` to ${node.maximum}`
		: bounded(node.exclusiveMaximum)
			? `${least && ","} below ${node.exclusiveMaximum}`
			: "";
	const length = node.maxLength ? `, at most ${node.maxLength} characters` : "";
	return `${least}${most}${length}`;
}

/** A value as the file would have it, on one line. */
export function yaml(value) {
	if (Array.isArray(value)) return `[${value.map(yaml).join(", ")}]`;
	if (typeof value === "object" && value !== null) {
		const pairs = Object.entries(value).map(([k, v]) => `${k}: ${yaml(v)}`);
		return pairs.length === 0 ? "{}" : `{ ${pairs.join(", ")} }`;
	}
	return String(value);
}
