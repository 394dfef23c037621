const nobody = 65_534;

/** Runs work with the rights of a user who is not root, for whom permissions count. */
export async function asOrdinaryUser(work) {
  if (process.getuid() !== 0) return work();
  process.seteuid(nobody);
  try {
    return await work();
  } finally {
    process.seteuid(0);
  }
}
