declare module 'node-gyp-build' {
  /** Loads the addon of the package in `root`: its own build, or else the prebuild for this platform. Throws when there is none. */
  function load(root: string): unknown;
  namespace load {
    /** The file that would be loaded. */
    function path(root: string): string;
  }
  export = load;
}
