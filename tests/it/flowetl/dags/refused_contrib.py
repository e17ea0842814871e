from airflow import DAG
from airflow.contrib.operators.file_to_wasb import FileToWasbOperator
