# The application. PostgreSQL, Kafka and Connect have images of their own:
# docker-compose.yml.

FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /venv
COPY requirements.lock ./
RUN /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
# Built with the setuptools of the lock: nothing is fetched that has no hash.
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 deltafolio \
    && install --directory --owner=deltafolio --mode=700 /state
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DELTAFOLIO_HOME=/state
USER deltafolio
WORKDIR /home/deltafolio
VOLUME /state
ENTRYPOINT ["deltafolio"]
CMD ["run", "all"]
