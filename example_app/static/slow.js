// Ask for the slow view, and leave before it has answered.

const begin = document.getElementById("begin");
const { work } = begin.dataset;
const leave = document.getElementById("leave");
let request;

begin.onclick = async () => {
  request = new AbortController();
  begin.disabled = true;
  leave.disabled = false;
  try {
    await fetch(work, { cache: "no-store", signal: request.signal });
  } catch {
    // Left, or the server has gone; the counters tell.
  }
  begin.disabled = false;
  leave.disabled = true;
};

leave.onclick = () => request.abort();
