import { StrictMode, useCallback, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

import { Connect } from "./connect.tsx";

interface AccountFacts {
  latchkey: string;
  connected: { name: string } | null;
}

function Account() {
  const [facts, setFacts] = useState<AccountFacts | null>(null);
  // Who is connected is the server's to say, which asks Latchkey.
  const look = useCallback(() => {
    void fetch("/account/telegram").then(async (answer) => setFacts(await answer.json()));
  }, []);
  useEffect(look, [look]);
  if (facts === null) return null;
  if (facts.connected) return <p>Your Telegram account is connected: {facts.connected.name}.</p>;
  return <Connect latchkey={facts.latchkey} onConnected={look} />;
}

createRoot(document.getElementById("account")!).render(
  <StrictMode>
    <Account />
  </StrictMode>,
);
