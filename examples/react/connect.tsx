import { ConnectTelegramButton } from "latchkey-client/react";
import { useState } from "react";

// Your own server starts the login: API keys do not belong in browsers.
async function startLogin(): Promise<string> {
  const answer = await fetch("/account/telegram", { method: "POST" });
  if (!answer.ok) throw new Error("The login could not be started.");
  return (await answer.json()).page_url;
}

export function Connect({ latchkey, onConnected }: { latchkey: string; onConnected: () => void }) {
  const [trouble, setTrouble] = useState("");
  return (
    <>
      <ConnectTelegramButton
        baseUrl={latchkey}
        pageUrl={startLogin}
        onClick={() => setTrouble("")}
        onConnected={onConnected}
        onCancelled={() => setTrouble("Nothing was connected.")}
        onFailed={(error) => setTrouble(`That did not work: ${error}`)}
      >
        Connect Telegram
      </ConnectTelegramButton>
      <p role="status">{trouble}</p>
    </>
  );
}
