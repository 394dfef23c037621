import { syncBuiltinESMExports } from 'node:module';
import * as assert from 'uvu/assert';

/**
 * Does `work` while a function of `fs` that ends in Sync, or one of `fs.promises`, fails with EIO for the arguments that `fails`
 * chooses. Gives the error in which the work ends.
 */
export async function whileFailing(module, name, fails, work) {
  const real = module[name];
  module[name] = (...given) => {
    if (!fails(...given)) return real(...given);
    const error = Object.assign(new Error(`EIO: i/o error, ${name}`), { code: 'EIO', errno: -5, syscall: name });
    if (name.endsWith('Sync')) throw error;
    return Promise.reject(error);
  };
  syncBuiltinESMExports();
  try {
    await work();
  } catch (error) {
    return error;
  } finally {
    module[name] = real;
    syncBuiltinESMExports();
  }
  assert.unreachable(`it succeeded though ${name} failed`);
}
