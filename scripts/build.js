/** npm run build: dist/ and keepsight.schema.json. */
import { build, install } from "./project.js";

install();
await build({ force: true });
