/** The dashboard of `keepsight serve`. */
import { render } from "preact";
import { App } from "./App.tsx";

const place = document.getElementById("app");
if (place) render(<App />, place);
