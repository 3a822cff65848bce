# Two images from one file: `docker build --target sidecar .` and `docker build --target control .`
#
# Plain on purpose. Dependencies are installed from the lockfile with no install script run, and
# copied with the sources, which Node runs as they are, into a distroless image without a shell.
FROM node:24-trixie-slim AS dependencies
WORKDIR /dragons
COPY package.json package-lock.json ./
# The images bring their own Node, so the one that npm scripts use is left out.
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund \
 && npm install --no-save --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund \
      "@lmdb/lmdb-linux-$(node -p process.arch)@$(node -p "require('./package-lock.json').packages['node_modules/lmdb'].version")" \
      "@koromix/koffi-linux-$(node -p process.arch)@$(node -p "require('./package-lock.json').packages['node_modules/koffi'].version")" \
 && mkdir /var/lib/dragons

FROM gcr.io/distroless/nodejs24-debian13:nonroot AS base
WORKDIR /dragons
COPY --from=dependencies /dragons/node_modules ./node_modules
COPY package.json LICENSE ./
COPY bin/dragons ./bin/dragons
COPY proto ./proto
COPY src ./src
COPY sidecar ./sidecar
COPY verifiers ./verifiers
# The only place that is written to, owned by the user that runs: uid 65532.
COPY --from=dependencies --chown=65532:65532 /var/lib/dragons /var/lib/dragons
VOLUME /var/lib/dragons
ENV NODE_ENV=production

FROM base AS sidecar
EXPOSE 7071
ENTRYPOINT ["/nodejs/bin/node", "/dragons/bin/dragons", "sidecar", "--data", "/var/lib/dragons/sidecar"]

FROM base AS control
EXPOSE 7443
ENTRYPOINT ["/nodejs/bin/node", "/dragons/bin/dragons", "control", "--data", "/var/lib/dragons/control", "--listen", "0.0.0.0:7443"]
