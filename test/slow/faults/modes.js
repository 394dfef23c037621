// How calls to the file system go wrong. The kinds of calls are named by shim.c.
const space = ['write', 'fsync', 'fsync-folder', 'rename', 'create', 'link', 'truncate', 'mkdir', 'copy', 'close'];
const removal = ['unlink', 'rmdir'];
const changing = [...space, ...removal, 'attribute'];
const killable = changing.filter((kind) => kind !== 'close');
const reading = ['open', 'read', 'stat', 'list', 'mmap', 'lock'];
export const everyKind = [...changing, ...reading];

/**
 * `kinds` that it may happen to; `effect` and `error` as shim.c takes them; `lasting`: to all calls from the n-th on.
 * `unseen`: a run must come to its end as if nothing had been.
 */
export const modes = [
  { name: 'EIO', kinds: everyKind, error: 'EIO' },
  { name: 'ENOSPC', kinds: space, error: 'ENOSPC' },
  { name: 'EDQUOT', kinds: space, error: 'EDQUOT' },
  { name: 'EINTR', kinds: ['write', 'fsync', 'create', 'truncate', 'copy', 'close', 'open', 'read'], error: 'EINTR' },
  { name: 'EMFILE', kinds: ['create', 'open', 'list'], error: 'EMFILE' },
  { name: 'short', kinds: ['write', 'read', 'copy'], effect: 'short', unseen: true },
  { name: 'delay', kinds: changing, effect: 'delay', unseen: true },
  { name: 'kill before', kinds: killable, effect: 'kill before' },
  { name: 'kill after', kinds: killable, effect: 'kill after' },
  { name: 'kill halfway', kinds: ['write', 'copy'], effect: 'kill halfway' },
  // A dying disk, a lost mount, a disk that was filled, one that the system stopped writing to.
  { name: 'EIO from then on', kinds: changing, error: 'EIO', lasting: true },
  { name: 'EIO for all from then on', kinds: everyKind, error: 'EIO', lasting: true },
  { name: 'ENOSPC from then on', kinds: space, error: 'ENOSPC', lasting: true },
  { name: 'EDQUOT from then on', kinds: space, error: 'EDQUOT', lasting: true },
  { name: 'EROFS from then on', kinds: killable, error: 'EROFS', lasting: true },
  { name: 'short from then on', kinds: ['write', 'read', 'copy'], effect: 'short', lasting: true, unseen: true },
  // Some file systems do not know what it is to force a folder to disk, and some have no locks.
  { name: 'EINVAL for folders', kinds: ['fsync-folder'], error: 'EINVAL', lasting: true, unseen: true, once: true },
  { name: 'ENOTSUP for folders', kinds: ['fsync-folder'], error: 'ENOTSUP', lasting: true, unseen: true, once: true },
  { name: 'ENOLCK for locks', kinds: ['lock'], error: 'ENOLCK', lasting: true, unseen: true, once: true },
];
