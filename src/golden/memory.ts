/** dne.*: densities, distances, calibration's leave-one-out. */
import {
	gaussianOf,
	ledoitWolf,
	leaveOneOut,
	momentsOf,
	type Rows,
	shrunkCovariance,
	squaredDistances,
} from "../linalg/covariance.ts";
import type { Tensor } from "../engine/tensor.ts";
import { pooledSample } from "../memory/pooled.ts";
import { type Check, isTrue, type Outcome, relative } from "./compare.ts";

const rowsOf = (t: Tensor): Rows => {
	const d = t.shape.at(-1) as number;
	return { n: t.data.length / d, d, data: Float64Array.from(t.data) };
};

const stacked = (parts: readonly Rows[]): Rows => ({
	n: parts.reduce((n, p) => n + p.n, 0),
	d: parts[0]?.d ?? 0,
	data: Float64Array.from(parts.flatMap((p) => [...p.data])),
});

export const dne: Check = async (dir) => {
	const t = dir.tensors("dne.safetensors");
	const list =
		dir.json<{ name: string; n: number; shrinkage: number }[]>("dne.json");
	const get = (name: string) => rowsOf(t[name] as Tensor);
	const queries = get("queries");
	const single = list.filter((entry) => `${entry.name}.embeddings` in t);
	const embeddings = single.map(({ name }) => get(`${name}.embeddings`));
	const outcomes: Outcome[] = [];
	for (const { name, n, shrinkage } of list) {
		const i = single.findIndex((entry) => entry.name === name);
		const earlier = embeddings.slice(0, -1).map((rows, task) => ({
			gaussian: gaussianOf(momentsOf(rows)),
			normals: get(`paper.normal${task}`),
		}));
		const rows =
			embeddings[i] ??
			(`${name}.mean` in t
				? stacked(embeddings)
				: pooledSample(earlier, embeddings.at(-1) as Rows));
		const moments = momentsOf(rows);
		const found = ledoitWolf(moments);
		const distance = squaredDistances(gaussianOf(moments, found), queries).map(
			Math.sqrt,
		);
		outcomes.push(isTrue(`dne ${name} n`, rows.n === n), {
			name: `dne ${name} shrinkage`,
			error: Math.abs(found.shrinkage - shrinkage),
			tolerance: 1e-6,
		});
		outcomes.push({
			name: `dne ${name} distance`,
			error: relative(distance, get(`${name}.distance`).data),
			tolerance: 1e-4,
		});
		if (!(`${name}.mean` in t)) continue; // the paper's refit comes as distances alone
		outcomes.push(
			{
				name: `dne ${name} mean`,
				error: relative(moments.mean, get(`${name}.mean`).data),
				tolerance: 1e-4,
			},
			{
				name: `dne ${name} empirical`,
				error: relative(moments.covariance, get(`${name}.empirical`).data),
				tolerance: 1e-4,
			},
			{
				name: `dne ${name} covariance`,
				error: relative(
					shrunkCovariance(moments.covariance, found),
					get(`${name}.covariance`).data,
				),
				tolerance: 1e-4,
			},
		);
	}
	return outcomes;
};

export const dneLoo: Check = async (dir) => {
	const t = dir.tensors("dne.loo.safetensors");
	const shrinkage = dir.json<{ shrinkage: number; target: number }>(
		"dne.loo.json",
	);
	const rows = rowsOf(t.embeddings as Tensor);
	const moments = momentsOf(rows);
	const found = leaveOneOut(moments, shrinkage).squaredDistances(
		rows,
		moments.mean,
		moments.n,
	);
	return [
		{
			name: "dne.loo squaredDistance",
			error: relative(found, (t.squaredDistance as Tensor).data),
			tolerance: 1e-4,
		},
	];
};
