/**
 * Where sessions compute. One process computes on one device: what is not implemented there, the runtime does on the CPU. Graphs are
 * the same on all of them, last digits are not.
 */
/** As onnxruntime names it. */
export type Provider =
	| string
	| { readonly name: string; readonly deviceId: number };

/** Of a session; a file that asks for more was not written so. */
export const mostThreads = 4096;

interface Kind {
	/** Of onnxruntime, for the n-th device of this kind. */
	provider(index: number): Provider;
	/** Where the runtime has it. */
	readonly platforms: readonly NodeJS.Platform[];
	/** What to do where it cannot be used. */
	readonly remedy: string;
}

/** In the order in which `auto` tries them; the CPU is last. */
export const deviceKinds = {
	cuda: {
		provider: (deviceId) => ({ name: "cuda", deviceId }),
		platforms: ["linux"],
		remedy:
			"It needs Linux on x64, an NVIDIA driver, CUDA 13 with cuDNN 9 on the loader's path, and libonnxruntime_providers_shared.so and libonnxruntime_providers_cuda.so beside the runtime's library (node_modules/onnxruntime-node/bin/napi-v6/linux/x64): copy them from the Python wheel onnxruntime-gpu of the same version.",
	},
	coreml: {
		provider: () => "coreml",
		platforms: ["darwin"],
		remedy: "It comes with the runtime on macOS alone.",
	},
	dml: {
		provider: (deviceId) => ({ name: "dml", deviceId }),
		platforms: ["win32"],
		remedy:
			"It comes with the runtime on Windows alone, and needs a GPU with a DirectX 12 driver.",
	},
	webgpu: {
		provider: () => "webgpu",
		platforms: ["linux", "darwin", "win32"],
		remedy:
			"It comes with the runtime, and needs a GPU with a driver for Vulkan (Linux: libvulkan1 and the vendor's driver), Metal or Direct3D 12. Experimental.",
	},
	cpu: {
		provider: () => "cpu",
		platforms: ["linux", "darwin", "win32"],
		remedy:
			"Run `npm ci` again. Prebuilt for Linux (glibc) x64 and arm64, Windows x64 and arm64, macOS arm64.",
	},
} satisfies Record<string, Kind>;
export type DeviceKind = keyof typeof deviceKinds;

/** Kinds that the runtime may have on this platform, in that order. */
export const kindsHere = (
	platform: NodeJS.Platform = process.platform,
): DeviceKind[] =>
	(Object.entries(deviceKinds) as [DeviceKind, Kind][])
		.filter(([, { platforms }]) => platforms.includes(platform))
		.map(([kind]) => kind);

/** Of these a machine may have several, which are told apart by a number: "cuda:1". */
const numbered: readonly DeviceKind[] = ["cuda", "dml"];

export const devicePattern = new RegExp(
	`^(${Object.keys(deviceKinds).join("|")}|(${numbered.join("|")}):\\d{1,2})$`,
);

/** Kind and number of a device that matches `devicePattern`. */
export function deviceOf(name: string): { kind: DeviceKind; index: number } {
	const [kind, index = "0"] = name.split(":");
	return { kind: kind as DeviceKind, index: Number(index) };
}

/** For a session on this device. */
export function providersOf(name: string): Provider[] {
	const { kind, index } = deviceOf(name);
	return [deviceKinds[kind].provider(index)]; // "cpu" beside it would be taken in silence where it is missing
}
