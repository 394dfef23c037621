import { spawn } from 'node:child_process';

/**
 * Runs a program in a group of its own, so that its children end with it when its time is over (`late`), or as soon as it writes `until`,
 * after which nothing else that it says matters.
 */
export function run(command, args, { cwd, env = {}, seconds, until }) {
  return new Promise((resolve, reject) => {
    const options = { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'], detached: true };
    const child = spawn(command, args, options);
    let output = '';
    let late = false;
    // Children may be left when the program itself has ended, or none at all.
    const kill = () => {
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch (error) {
        if (error.code !== 'ESRCH') throw error;
      }
    };
    const timer = setTimeout(() => {
      late = true;
      kill();
    }, seconds * 1000);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (data) => {
        output += data;
        if (until !== undefined && output.includes(until)) kill();
      });
    }
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code, output, late });
    });
  });
}
