/** The frame around every page: the menu, the state of the line, the token if one is asked for. */
import { useEffect, useRef } from "preact/hooks";
import { useFeed } from "./feed.ts";
import { connection, runFeed } from "./feed.ts";
import { useLoaded } from "./loaded.ts";
import { AddPage } from "./pages/AddPage.tsx";
import { JobPage } from "./pages/JobPage.tsx";
import { LivePage } from "./pages/LivePage.tsx";
import { ProductPage } from "./pages/ProductPage.tsx";
import { ProductsPage } from "./pages/ProductsPage.tsx";
import { ReviewPage } from "./pages/ReviewPage.tsx";
import { RunsPage } from "./pages/RunsPage.tsx";
import { ScorePage } from "./pages/ScorePage.tsx";
import { TokenPage } from "./pages/TokenPage.tsx";
import { VersionsPage } from "./pages/VersionsPage.tsx";
import { Announcer } from "./parts/Announcer.tsx";
import { Status } from "./parts/Status.tsx";
import { hrefOf, route } from "./route.ts";
import { gate } from "./session.ts";
import { useStore } from "./store.ts";
import { type Tasks, TasksContext } from "./tasks.ts";
import { text } from "./text.ts";

type PageName = keyof typeof text.pages;
const pages = Object.keys(text.pages) as PageName[];

export function App() {
	const open = useStore(gate) === "open";
	return (
		<>
			{open ? <Dashboard /> : <TokenPage />}
			<Announcer />
		</>
	);
}

function Dashboard() {
	const [first = "", second] = useStore(route);
	const tasks = useLoaded<Tasks>("/v1/tasks");
	const { renewed } = useStore(connection);
	const main = useRef<HTMLElement>(null);
	useEffect(() => {
		const abort = new AbortController();
		void runFeed(abort.signal);
		return () => abort.abort();
	}, []);
	useFeed("version", tasks.reload);
	useEffect(() => {
		if (renewed > 1) tasks.reload();
	}, [renewed]);

	const name: PageName =
		pages.find((page) => page === first) ??
		(first === "add" || first === "jobs" ? "products" : "live");
	const arrived = useRef(false);
	useEffect(() => {
		document.title = text.title(text.pages[name]);
		// a screen reader goes on from the page's head; not where the dashboard was just opened
		if (arrived.current) main.current?.querySelector("h1")?.focus();
		arrived.current = true;
	}, [first, second]);

	return (
		<TasksContext.Provider value={tasks}>
			<header>
				<a
					class="skip"
					href={location.hash || "#/live"}
					onClick={(event) => {
						event.preventDefault();
						main.current?.querySelector("h1")?.focus();
					}}
				>
					{text.skip}
				</a>
				<span class="brand">{text.name}</span>
				<nav aria-label={text.mainMenu}>
					<ul>
						{pages.map((page) => (
							<li key={page}>
								<a
									href={hrefOf(page)}
									aria-current={page === name ? "page" : undefined}
								>
									{text.pages[page]}
								</a>
							</li>
						))}
					</ul>
				</nav>
				<Status />
			</header>
			<main ref={main} id="main">
				{tasks.value?.replica && (
					<div class="notice" role="note">
						<strong>{text.replica.title}</strong>
						<p>{text.replica.help(tasks.value.replica.writer)}</p>
					</div>
				)}
				<Page first={first} second={second} />
			</main>
		</TasksContext.Provider>
	);
}

function Page({
	first,
	second,
}: {
	readonly first: string;
	readonly second: string | undefined;
}) {
	switch (first) {
		case "score":
			return <ScorePage />;
		case "products":
			return second ? (
				<ProductPage key={second} name={second} />
			) : (
				<ProductsPage />
			);
		case "add":
			return <AddPage />;
		case "jobs":
			return <JobPage key={second} id={second ?? ""} />;
		case "review":
			return <ReviewPage />;
		case "versions":
			return <VersionsPage />;
		case "runs":
			return <RunsPage />;
		default:
			return <LivePage />;
	}
}
