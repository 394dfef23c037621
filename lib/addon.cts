// The native addon. In CommonJS, and by the call that programs which trace an application's files look for (Next.js standalone, Vercel,
// pkg): they take the addon's file with them, and the shared libraries beside it.
import path = require('node:path');
import load = require('node-gyp-build');
export = load(path.join(__dirname, '..'));
