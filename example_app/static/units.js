// Numbers of the kernel's, as people read them; a dash where there is none.

const unless = (format) => (value) => value === null || value === undefined ? "-" : format(value);

export const time = unless((seconds) => {
  if (seconds < 0.001) return `${(1e6 * seconds).toFixed(0)} µs`;
  return seconds < 1 ? `${Number((1000 * seconds).toPrecision(3))} ms` : `${seconds.toFixed(1)} s`;
});

export const milliseconds = unless((seconds) => `${(1000 * seconds).toFixed(3)} ms`);

export const age = unless((seconds) => `${seconds.toFixed(1)} s`);

export const bytes = unless((count) => {
  let unit = "";
  for (unit of ["B", "kB", "MB", "GB"]) {
    if (count < 1000 || unit === "GB") break;
    count /= 1000;
  }
  return `${unit === "B" ? count : count.toFixed(1)} ${unit}`;
});

export const segments = unless((count) => `${count} segment${count === 1 ? "" : "s"}`);
