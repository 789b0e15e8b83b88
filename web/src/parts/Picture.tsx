/** A picture of the server, fetched with the token once it comes near the screen. */
import { useEffect, useRef, useState } from "preact/hooks";
import { getPicture } from "../http.ts";
import { text } from "../text.ts";

export function Picture({
	path,
	alt,
}: {
	readonly path: string;
	readonly alt: string;
}) {
	const place = useRef<HTMLDivElement>(null);
	const [near, setNear] = useState(false);
	const [source, setSource] = useState<string | null>(null);
	const [missing, setMissing] = useState(false);

	useEffect(() => {
		if (!place.current) return;
		const observer = new IntersectionObserver(
			(entries) => {
				if (!entries.some((entry) => entry.isIntersecting)) return;
				setNear(true);
				observer.disconnect();
			},
			{ rootMargin: "400px" },
		);
		observer.observe(place.current);
		return () => observer.disconnect();
	}, []);

	useEffect(() => {
		if (!near) return;
		const abort = new AbortController();
		let url: string | null = null;
		setMissing(false);
		getPicture(path, abort.signal).then(
			(blob) => {
				if (abort.signal.aborted) return;
				url = URL.createObjectURL(blob);
				setSource(url);
			},
			() => setMissing(!abort.signal.aborted),
		);
		return () => {
			abort.abort();
			if (url) URL.revokeObjectURL(url);
			setSource(null);
		};
	}, [near, path]);

	return (
		<div class="picture" ref={place}>
			{missing ? (
				<span class="soft">{text.pictureMissing}</span>
			) : source ? (
				<img src={source} alt={alt} onError={() => setMissing(true)} />
			) : null}
		</div>
	);
}
