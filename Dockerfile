# One image for every role; docker-compose.yml says which role a container plays.
FROM python:3.11.15-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/latchkey
COPY requirements.txt .
RUN /opt/latchkey/bin/pip install --no-compile --require-hashes -r requirements.txt \
 && /opt/latchkey/bin/python -m compileall -q /opt/latchkey/lib

FROM python:3.11.15-slim-bookworm
# A fixed number: volumes and secret files are given to it by number.
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin latchkey
ENV PATH=/opt/latchkey/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv/latchkey
COPY --from=build /opt/latchkey /opt/latchkey
COPY celeryconfig.py ./
COPY migrations ./migrations
COPY deploy ./deploy
COPY app ./app
COPY tasks ./tasks
COPY web ./web
RUN python -m compileall -q app tasks web migrations deploy celeryconfig.py
# Nothing here needs a shell or a package manager, and whoever breaks in should find neither. The last command of the build.
RUN ["python", "-c", "import glob, os; [os.remove(p) for name in ('sh', 'bash', 'dash', 'rbash', 'apt*', 'dpkg*', 'perl*') for p in glob.glob('/usr/bin/' + name)]"]
USER 10001:10001
EXPOSE 8000
CMD ["gunicorn", "-c", "deploy/gunicorn.py", "web:create_app()"]
