export { FolderStorage } from "./folder-storage.js";
export { Folder, openBundle } from "./folder.js";
