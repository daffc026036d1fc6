// Show a model's answer as it comes. The browser reconnects by itself, and says what it had last.

const ask = document.getElementById("ask");
const { tokens } = ask.dataset;
const answer = document.getElementById("answer");

ask.onclick = () => {
  const source = new EventSource(tokens);
  ask.disabled = true;
  answer.textContent = "";
  source.onmessage = ({ data }) => answer.append(`${JSON.parse(data).token} `);
  source.addEventListener("end", () => {
    source.close();
    ask.disabled = false;
  });
  source.onerror = () => {
    // While it is CONNECTING, the browser tries again.
    if (source.readyState === EventSource.CLOSED) ask.disabled = false;
  };
};
