export { Folder, openBundle } from "./folder.js";
