(document.getElementById("page") as HTMLElement).textContent = "";
